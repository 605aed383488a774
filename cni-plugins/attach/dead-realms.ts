import { isGiven, numberOf } from '../netlink/namespace-numbers.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { NetworkDatabase } from './database.ts';

/**
 * Removes the records of host namespaces of callers that no longer exist. Everything they describe ended with
 * the namespace, and no caller will delete it. The number of a namespace within the engine's own one shows
 * whether it still exists, because the kernel frees the number at its end. If a number was reused, the
 * records only stay longer.
 */
export interface DeadRealms {
  /**
   * Call it before recording anything for a realm that is not the engine's own.
   * @param netnsFd the open namespace
   */
  watch(realm: string, netnsFd: number): void;
  /** Deletes all records of realms whose namespaces are gone. @returns these realms */
  forget(): readonly string[];
}

/** @param own the engine's realm, to which `route` belongs */
export function createDeadRealms({ db, transaction }: NetworkDatabase, route: NetlinkSocket, own: string): DeadRealms {
  const watched = new Set<string>();
  const put = db.prepare(
    'INSERT INTO realm (realm, observer, number) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET observer = excluded.observer, number = excluded.number',
  );
  const all = db.prepare('SELECT realm, number FROM realm WHERE observer = ?');
  const removals = ['name', 'network_service', 'attachment', 'last_lease', 'realm'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE realm = ?`),
  );
  return {
    watch(realm, netnsFd) {
      if (realm === own || watched.has(realm)) return;
      put.run(realm, own, numberOf(route, netnsFd));
      watched.add(realm);
    },
    forget() {
      const rows = all.all(own) as unknown as { realm: string; number: number }[];
      const gone = rows.filter(({ number }) => !isGiven(route, number)).map(({ realm }) => realm);
      for (const realm of gone) {
        watched.delete(realm);
        transaction(() => removals.forEach((removal) => removal.run(realm)));
      }
      return gone;
    },
  };
}
