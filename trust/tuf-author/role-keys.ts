import type { Dialect, TopRole } from '../tuf-metadata/model.ts';
import type { OwnedCollection } from './owned-collection.ts';
import type { KeysNamed } from './owner.types.ts';
import type { StagedKey, StagedKeys } from './staged.ts';

type KeyHolder = Pick<OwnedCollection, 'keys' | 'name' | 'now'>;

/** Creates a key of a top-level role. Root keys belong to the owner, all others to the collection. */
export const newKeyOf = ({ keys, name }: KeyHolder, role: TopRole): Promise<StagedKey> =>
  keys.generate(role, role === 'root' ? undefined : name);

/** Returns the keys that the owner named for a top-level role, else its existing root key or a new key. */
export async function keysOf(
  holder: KeyHolder,
  role: TopRole,
  named: KeysNamed | undefined,
): Promise<StagedKeys> {
  const { keys } = holder;
  return {
    threshold: named?.threshold ?? 1,
    keys:
      named === undefined || named.files.length === 0
        ? [(role === 'root' ? await keys.standing('root') : undefined) ?? (await newKeyOf(holder, role))]
        : await Promise.all(named.files.map((file) => keys.read(file))),
  };
}

/** Returns the keys as a role of the dialect lists them. @throws TRUST_AUTHOR_NOT_IN_DIALECT */
export async function inDialect(
  { keys, name, now }: KeyHolder,
  dialect: Dialect,
  role: TopRole,
  staged: readonly StagedKey[],
): Promise<StagedKey[]> {
  if (dialect === 'notary' && role === 'root')
    return Promise.all(staged.map((key) => keys.certified(key, name, now)));
  // Only Notary's roots use certificates: all other roles use the bare key.
  return staged.map(({ spki }) => ({ spki }));
}
