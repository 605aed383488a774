import type { Dialect } from '../tuf-metadata/model.ts';
import type { KeyVault } from './key-vault.ts';
import { listedOnlineKey } from './online-keys.ts';
import type { OnlineKey } from './online-keys.ts';
import { readRoot } from './remembered-files.ts';
import type { Standings } from './collection-states.ts';

/**
 * The keys by which the service signs roles of a collection. The caller orders the calls for a collection.
 */
export interface CollectionKeys {
  /** Returns the key of a role as a root lists it. A key is created if there is none. */
  publicKey(gun: string, dialect: Dialect, role: OnlineKey['role']): Promise<unknown>;
  /** Creates another key, which the next root can name. */
  rotate(gun: string, dialect: Dialect, role: OnlineKey['role']): Promise<unknown>;
}

/**
 * Maximum number of rotated keys of a role that no root names yet. A client that rotates and never publishes
 * must not fill the database or slow down each update.
 */
const mostUnnamed = 8;

/** Keys are kept in the vault; which of them are used is read from the roots. */
export function createCollectionKeys(
  vault: KeyVault,
  standings: Pick<Standings, 'load'>,
  clock: () => number,
): CollectionKeys {
  const createKey = async (
    gun: string,
    dialect: Dialect,
    role: OnlineKey['role'],
    instead?: readonly OnlineKey[],
  ): Promise<unknown> => listedOnlineKey(dialect, await vault.create(gun, role, clock(), instead)).entry;

  /**
   * Returns the keys of a role that no root names, oldest first: keys made before a first publish, or by a
   * rotation. Rotation still works when the key file is lost.
   */
  const unnamedKeys = async (gun: string, role: OnlineKey['role']): Promise<OnlineKey[]> => {
    const named = async (dialect: Dialect): Promise<(key: OnlineKey) => boolean> => {
      const root = (await standings.load(gun, dialect)).files.get('root');
      return (key) => root !== undefined && namesKey(dialect, root.bytes, role, key);
    };
    const [byNotary, byTuf] = [await named('notary'), await named('tuf')];
    return (await vault.openedKeysOf(gun)).filter(
      (key) => key.role === role && !byNotary(key) && !byTuf(key),
    );
  };

  return {
    async publicKey(gun, dialect, role) {
      const keys = (await vault.keysOf(gun)).filter((key) => key.role === role);
      const root = (await standings.load(gun, dialect)).files.get('root');
      const named =
        root === undefined ? undefined : keys.find((key) => namesKey(dialect, root.bytes, role, key));
      // A key made for a first publish, or by a rotation, waits for the root that names it.
      const key = named ?? keys.at(-1);
      return key === undefined ? createKey(gun, dialect, role) : listedOnlineKey(dialect, key).entry;
    },
    rotate: async (gun, dialect, role) =>
      createKey(gun, dialect, role, (await unnamedKeys(gun, role)).slice(0, -(mostUnnamed - 1))),
  };
}

function namesKey(dialect: Dialect, root: Buffer, role: OnlineKey['role'], key: OnlineKey): boolean {
  return readRoot(dialect, root).signed.roles[role].keyids.includes(listedOnlineKey(dialect, key).id);
}
