import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import type { Database } from '../../base/storage/index.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { amd64, keyRequirement, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import type { Dossier, Verdict } from '../findings/types.ts';
import { decide } from '../verdict/decide.ts';
import { openVerdictLog } from './keeper.ts';
import type { VerdictLog, VerdictLogOptions } from './keeper.ts';
import { verdictLogMigrations } from './schema.ts';

/** For tests of other rooms. */
export { dropOldTexts } from './retention.ts';

/** For a log that signs something else than its rows. */
export { signCheckpoint } from './checkpoint.ts';

export const migrations = verdictLogMigrations.map((sql, index) => ({ version: index + 1, sql }));

/** One rule that admits, and one whose requirement no fixture here meets. */
export const policy = policyOf(
  { images: ['docker.io/**'], allowUnverified: true },
  { images: ['ghcr.io/**'], require: keyRequirement('ecdsa-p256') },
);

export interface LogKit {
  readonly folder: string;
  readonly path: string;
  readonly database: Database;
  readonly log: VerdictLog;
  /** Appends verdicts on `count` images. */
  append(count: number, at?: Date): Promise<readonly Verdict[]>;
}

export function dossierOf(reference: string): Dossier {
  const digest = `sha256:${Buffer.from(reference).toString('hex').padEnd(64, '0').slice(0, 64)}`;
  return sealDossier({
    reference,
    digest,
    manifestDigest: digest,
    items: [],
    unreachable: [],
    gatheredAt: now.toISOString(),
  });
}

export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'verdict-log-'));
  t.after(() => rm(folder, { recursive: true }));
  return folder;
}

/** Opens a log in a new folder. */
export async function openKit(t: TestContext, options: Partial<VerdictLogOptions> = {}): Promise<LogKit> {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'state.db');
  const database = await openDatabase({ path, migrations });
  const log = await openVerdictLog({ ...logOptions(folder, database), ...options });
  t.after(async () => {
    await log.close();
    await database.close();
  });
  let made = 0;
  return {
    folder,
    path,
    database,
    log,
    async append(count, at = now) {
      const verdicts: Verdict[] = [];
      for (let index = 0; index < count; index += 1) {
        made += 1;
        const reference =
          made % 2 === 0 ? `docker.io/library/image-${made}:1` : `ghcr.io/team/image-${made}:1`;
        const dossier = dossierOf(reference);
        const verdict = decide({
          dossier,
          reference,
          namespace: `team-${made % 3}`,
          platform: amd64,
          policy,
          now: at,
        });
        await database.write(log.statements(verdict, dossier, policy));
        verdicts.push(verdict);
      }
      return verdicts;
    },
  };
}

export function logOptions(folder: string, database: Database): VerdictLogOptions {
  return {
    database,
    keyFile: join(folder, 'verdict-log.key'),
    now: () => now,
    retentionDays: 0,
    verdictsInUse: () => [],
    dossiersInUse: "SELECT ''",
    onFailure: (what, error) => {
      // A test may have closed the database already.
      if ((error as { code?: string }).code !== 'STORAGE_CLOSED') throw new Error(what, { cause: error });
    },
  };
}
