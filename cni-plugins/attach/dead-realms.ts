import { isGiven, numberOf } from '../netlink/namespace-numbers.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { NetworkDatabase } from './database.ts';

/**
 * Host namespaces of callers that ended: what is recorded of them ended with them, and nobody will delete it. That a namespace is gone is told by
 * its number in the engine's own one, which the kernel takes back at its end; a number that was given again only lets the records wait.
 */
export interface DeadRealms {
  /** Before something is recorded of a realm that is not the engine's own. @param netnsFd the namespace, open */
  watch(realm: string, netnsFd: number): void;
  /** Forgets all of the realms whose namespaces are gone. @returns them */
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
