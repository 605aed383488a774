import { isGiven, numberOf } from '../../base/netlink/index.ts';
import type { NetlinkSocket } from '../../base/netlink/index.ts';
import type { NetworkDatabase } from './database.ts';

/**
 * Removes the records of host namespaces of callers that no longer exist. Everything they describe ended with
 * the namespace, and no caller will delete it. The number of a namespace within the engine's own one shows
 * whether it still exists, because the kernel frees the number at its end. If a number was reused, the
 * records only stay longer.
 */
export interface EndedNamespaces {
  /**
   * Call it before recording anything for a host network namespace that is not the engine's own.
   * @param netnsFd the open namespace
   */
  watch(namespaceId: string, netnsFd: number): void;
  /** Deletes all records of host network namespaces that are gone. @returns their ids */
  forget(): readonly string[];
}

/** @param own the id of the engine's host network namespace, to which `route` belongs */
export function createEndedNamespaces(
  { db, transaction }: NetworkDatabase,
  route: NetlinkSocket,
  own: string,
): EndedNamespaces {
  const watched = new Set<string>();
  const put = db.prepare(
    'INSERT INTO realm (realm, observer, number) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET observer = excluded.observer, number = excluded.number',
  );
  const all = db.prepare('SELECT realm AS namespaceId, number FROM realm WHERE observer = ?');
  const removals = ['name', 'network_service', 'attachment', 'last_lease', 'realm'].map((table) =>
    db.prepare(`DELETE FROM ${table} WHERE realm = ?`),
  );
  return {
    watch(namespaceId, netnsFd) {
      if (namespaceId === own || watched.has(namespaceId)) return;
      put.run(namespaceId, own, numberOf(route, netnsFd));
      watched.add(namespaceId);
    },
    forget() {
      const rows = all.all(own) as unknown as { namespaceId: string; number: number }[];
      const gone = rows.filter(({ number }) => !isGiven(route, number)).map(({ namespaceId }) => namespaceId);
      for (const namespaceId of gone) {
        watched.delete(namespaceId);
        transaction(() => removals.forEach((removal) => removal.run(namespaceId)));
      }
      return gone;
    },
  };
}
