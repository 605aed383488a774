import { mkdir, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../base/storage/index.ts';
import { recordOf } from '../../strict-json.ts';
import { folderStore } from '../client/folder-store.ts';
import type { TufSource, TufStore } from '../client/source.ts';
import { tufFailure } from '../failure.ts';
import type { Dialect } from '../metadata/model.ts';
import { trustRoot } from '../trusted-set.ts';
import type { ImageRepository } from './repository.ts';

/** What is known of one repository, durably: a rollback is noticed after a restart as well. */
export interface RepositoryStore extends TufStore {
  /** The first root, from the policy or from the first use. */
  readonly first: Buffer;
  /** ISO 8601, where trust began on first use. */
  readonly firstUse: string | undefined;
  /** Every file of metadata that was believed, by name; the chain of roots among them. */
  files(): Promise<Map<string, Buffer>>;
  /** ISO 8601; empty when the service was never asked with success. */
  checkedAt(): Promise<string>;
  checked(at: Date): Promise<void>;
}

/** Not a role: what the store keeps for itself. */
const recordName = 'record';

interface StoreRecord {
  readonly checkedAt?: string;
  readonly firstUse?: string;
}

/**
 * Opens what is kept of a repository. One that is trusted on first use is asked for its root, once, and that is recorded.
 * @throws those of the source and of the root
 */
export async function openRepositoryStore(
  folder: string,
  repository: ImageRepository,
  dialect: Dialect,
  source: TufSource,
  now: Date,
): Promise<RepositoryStore> {
  const kept = folderStore(folder);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const readRecord = async (): Promise<StoreRecord> => {
    const record = recordOf(JSON.parse((await kept.load(recordName))?.toString('utf8') ?? '{}')) ?? {};
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    const [checkedAt, firstUse] = [text(record['checkedAt']), text(record['firstUse'])];
    return { ...(checkedAt === undefined ? {} : { checkedAt }), ...(firstUse === undefined ? {} : { firstUse }) };
  };
  const writeRecord = async (change: StoreRecord): Promise<void> =>
    writeFileAtomic(
      join(folder, `${recordName}.json`),
      `${JSON.stringify({ url: repository.url, image: repository.image, ...(await readRecord()), ...change })}\n`,
    );

  const pinned =
    repository.root === 'first-use' || repository.root === undefined ? undefined : Buffer.from(repository.root.content, 'base64');
  let first = pinned ?? (await kept.load('first.root'));
  if (first === undefined) {
    first = await firstRoot(source, dialect);
    await kept.save('first.root', first);
    await writeRecord({ firstUse: now.toISOString() });
  }
  const { firstUse } = await readRecord();
  const begin = first;
  return {
    first: begin,
    firstUse: pinned === undefined ? firstUse : undefined,
    load: async (role) => (await kept.load(role)) ?? (role === 'root' ? begin : undefined),
    async save(role, bytes) {
      // Each root of the chain is evidence: from the pinned one on, every step is judged again.
      if (role === 'root') await kept.save(`${versionOf(bytes)}.root`, bytes);
      await kept.save(role, bytes);
    },
    async files() {
      const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
      const roles = names.map((name) => decodeURIComponent(name.slice(0, -'.json'.length)));
      const own = roles.filter((role) => role !== 'root' && role !== recordName);
      return new Map(
        await Promise.all(
          own.map(async (role): Promise<[string, Buffer]> => [role, await readFile(join(folder, `${encodeURIComponent(role)}.json`))]),
        ),
      );
    },
    checkedAt: async () => (await readRecord()).checkedAt ?? '',
    checked: (at) => writeRecord({ checkedAt: at.toISOString() }),
  };
}

const firstRootBytes = 512 * 1024;

async function firstRoot(source: TufSource, dialect: Dialect): Promise<Buffer> {
  for (const name of dialect === 'tuf' ? ['1.root.json', 'root.json'] : ['root.json']) {
    const bytes = await source.fetch(name, firstRootBytes);
    if (bytes === undefined) continue;
    trustRoot(dialect, bytes);
    return bytes;
  }
  throw tufFailure('TRUST_TUF_MISSING', 'root', 'the service has no metadata for this image');
}

function versionOf(root: Buffer): number {
  return Number(recordOf(recordOf(JSON.parse(root.toString('utf8')))?.['signed'])?.['version']);
}
