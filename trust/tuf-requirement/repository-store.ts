import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { dropOldAbandonedWrites, makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import { recordOf } from '../json/strict-json.ts';
import { folderStore } from '../tuf-client/folder-store.ts';
import type { TufSource, TufStore } from '../tuf-client/source.ts';
import { tufFailure } from '../tuf/failure.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { trustRoot } from '../tuf/trusted-set.ts';
import type { ImageRepository } from './repository.ts';

/** The durable state of one repository, so that a rollback is detected after a restart as well. */
export interface RepositoryStore extends TufStore {
  /** The first root, from the policy or from the first use. */
  readonly first: Buffer;
  /** ISO 8601, if trust began on first use. */
  readonly firstUse: string | undefined;
  /** Returns every trusted metadata file by name, including the chain of roots. */
  files(): Promise<Map<string, Buffer>>;
  /** ISO 8601; empty when the service was never asked with success. */
  checkedAt(): Promise<string>;
  checked(at: Date): Promise<void>;
}

/** Not a role: the store's own record. */
const recordName = 'record';

/**
 * The store's own files: the record and the chain of roots. A delegated role may have such a name as well.
 */
const ownName = /^(?:record|first\.root|\d+\.root)$/u;
/** A file name cannot be longer than 255 bytes. */
const mostNameBytes = 200;

/** Returns the file name of a role, which never equals one of the store's own. @throws TRUST_TUF_MALFORMED */
function keptName(role: string): string {
  const name = ownName.test(role) || role.startsWith('@') ? `@${role}` : role;
  if (encodeURIComponent(name).length <= mostNameBytes) return name;
  throw tufFailure('TRUST_TUF_MALFORMED', role.slice(0, 100), 'the name of this role is too long');
}

/** Returns the role of a stored file. */
const roleOf = (kept: string): string => (kept.startsWith('@') ? kept.slice(1) : kept);

/**
 * Returns whether evidence uses the name for something else: metadata of such a role could not be
 * distinguished from the chain of roots.
 */
export function isOwnName(role: string): boolean {
  return ownName.test(role);
}

interface StoreRecord {
  readonly checkedAt?: string;
  readonly firstUse?: string;
}

/**
 * Opens the state of a repository. A repository that is trusted on first use is asked for its root once, and
 * the first use is recorded.
 * @throws the errors of the source and of the root; TRUST_TUF_ROOT_LOST
 */
export async function openRepositoryStore(
  folder: string,
  repository: ImageRepository,
  dialect: Dialect,
  source: TufSource,
  now: Date,
): Promise<RepositoryStore> {
  const kept = folderStore(folder);
  makeFolderSync(folder);
  await dropOldAbandonedWrites(folder);
  const readRecord = async (): Promise<StoreRecord> => {
    const record = recordOf(parseJson((await kept.load(recordName))?.toString('utf8') ?? '{}')) ?? {};
    const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
    const [checkedAt, firstUse] = [text(record['checkedAt']), text(record['firstUse'])];
    return {
      ...(checkedAt === undefined ? {} : { checkedAt }),
      ...(firstUse === undefined ? {} : { firstUse }),
    };
  };
  const writeRecord = async (change: StoreRecord): Promise<void> =>
    writeFileAtomic(
      join(folder, `${recordName}.json`),
      `${JSON.stringify({ url: repository.url, image: repository.image, ...(await readRecord()), ...change })}\n`,
    );

  const trustedFiles = async (): Promise<string[]> =>
    (await readdir(folder)).filter((name) => name.endsWith('.json') && name !== `${recordName}.json`);

  const pinned =
    repository.root === 'first-use' || repository.root === undefined
      ? undefined
      : Buffer.from(repository.root.content, 'base64');
  let first = pinned ?? (await kept.load('first.root'));
  if (first === undefined) {
    const { firstUse = 'an unknown time', checkedAt } = await readRecord();
    // A first use that did not end has left neither. After another one, a new root would be trusted silently.
    if (checkedAt !== undefined || (await trustedFiles()).length > 0)
      throw tufFailure(
        'TRUST_TUF_ROOT_LOST',
        join(folder, 'first.root.json'),
        `the root that was trusted on first use at ${firstUse} is missing`,
      );
    first = await firstRoot(source, dialect);
    // The record is written first, so that trust on first use is never without it.
    await writeRecord({ firstUse: now.toISOString() });
    await kept.save('first.root', first);
  }
  const { firstUse } = await readRecord();
  const begin = first;
  return {
    first: begin,
    firstUse: pinned === undefined ? firstUse : undefined,
    load: async (role) => (await kept.load(keptName(role))) ?? (role === 'root' ? begin : undefined),
    async save(role, bytes) {
      // Each root of the chain is evidence: every step from the pinned root on is verified again.
      if (role === 'root') await kept.save(`${versionOf(bytes)}.root`, bytes);
      await kept.save(keptName(role), bytes);
    },
    async files() {
      const names = (await readdir(folder)).filter((name) => name.endsWith('.json'));
      const roles = names.map((name) => decodeURIComponent(name.slice(0, -'.json'.length)));
      const own = roles.filter(
        (role) =>
          role !== 'root' && role !== recordName && !(role.startsWith('@') && isOwnName(roleOf(role))),
      );
      return new Map(
        await Promise.all(
          own.map(async (role): Promise<[string, Buffer]> => [
            roleOf(role),
            await readFile(join(folder, `${encodeURIComponent(role)}.json`)),
          ]),
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
  return Number(recordOf(recordOf(parseJson(root.toString('utf8')))?.['signed'])?.['version']);
}
