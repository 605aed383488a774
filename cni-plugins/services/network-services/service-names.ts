import type { NetworkDatabase } from '../../database/database.ts';
import { createNameStore } from '../../database/endpoint-names.ts';
import type { NetworkName } from '../../database/endpoint-names.ts';
import type { NetworkService } from './members.ts';
import { namesOfMember } from './plan.ts';

type ServiceId = Pick<NetworkService, 'name' | 'network'>;

/** The names of services in the database, which the name server answers. Synchronous, for a Worker. */
export interface ServiceNames {
  /** Brings the names of a service to exactly these. */
  write(service: NetworkService, names: readonly NetworkName[]): void;
  /** Removes the names of all services except these. */
  retain(services: readonly ServiceId[]): void;
  /**
   * Removes the names of refused members of a service over hosts: members in the other mode or of another
   * Kubernetes namespace. The overlay reports them.
   */
  removeRefused(service: NetworkService): void;
}

const holderOf = ({ name }: Pick<ServiceId, 'name'>): string => `service/${name}`;
const keyOf = (network: string, holder: string): string => `${network} ${holder}`;

/** @param namespaceId the host network namespace of the services */
export function createServiceNames(database: NetworkDatabase, namespaceId: string): ServiceNames {
  const names = createNameStore(database);
  const selectHolders = database.db.prepare(
    "SELECT DISTINCT network, holder FROM name WHERE realm = ? AND holder LIKE 'service/%'",
  );
  const selectNames = database.db.prepare(
    'SELECT count(*) AS count FROM name WHERE realm = ? AND network = ? AND holder = ?',
  );
  const removeName = database.db.prepare(
    "DELETE FROM name WHERE attachment = ? AND name = ? AND kind = 'service'",
  );
  /** The names as they were last put, by holder. */
  const put = new Map<string, string>();

  return {
    write(service, given) {
      const { network, members } = service;
      const [{ owner = '' }] = members;
      const holder = holderOf(service);
      const key = keyOf(network, holder);
      const text = JSON.stringify([owner, given]);
      // A boot, or the end of the namespace, removes names as well.
      const exists =
        put.get(key) === text &&
        (selectNames.get(namespaceId, network, holder) as { count: number }).count > 0;
      if (exists) return;
      database.transaction(() => names.put({ namespaceId, network, holder, owner }, given));
      put.set(key, text);
    },
    retain(services) {
      const kept = new Set(services.map((service) => keyOf(service.network, holderOf(service))));
      for (const { network, holder } of selectHolders.all(namespaceId) as unknown as {
        network: string;
        holder: string;
      }[]) {
        if (kept.has(keyOf(network, holder))) continue;
        database.transaction(() => names.take({ namespaceId, network, holder }));
        put.delete(keyOf(network, holder));
      }
    },
    removeRefused({ spanned }) {
      for (const member of spanned?.refused ?? [])
        for (const { name } of namesOfMember(member))
          if (member.attachment !== undefined) removeName.run(member.attachment, name);
    },
  };
}
