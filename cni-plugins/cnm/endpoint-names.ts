import { namesAt } from '../attach/call-names.ts';
import type { NetworkDatabase } from '../attach/database.ts';
import { createMembershipStore, memberNames } from '../attach/memberships.ts';
import { createNameStore } from '../attach/names.ts';
import { membershipLabel, membershipsOn, parseMemberships } from '../spec/memberships.ts';
import type { Membership } from '../spec/memberships.ts';
import { interfaceName } from './records.ts';
import type { CnmStore } from './store.ts';

/** By which names whoever is on a network finds an endpoint of it. */
export interface EndpointNames {
  readonly name: string;
  readonly aliases: readonly string[];
  /** Services of the network that it joins, as JSON: `parseMemberships`. */
  readonly services?: string;
}

/**
 * As for everything else on a network: where its configuration declares the capability `aliases`, and for as long as the attachment stands
 * that our plugins made. Plugins of others write none down. Synchronous, for a Worker.
 * @returns what writes them; it throws NETWORK_SERVICE_MEMBERSHIP_INVALID · NETWORK_SERVICE_MODE_DIFFERS when the names are written, and no services
 */
export function createEndpointNames(
  { db, transaction }: NetworkDatabase,
  store: Pick<CnmStore, 'endpoint' | 'network'>,
): (endpoint: string, called: EndpointNames) => void {
  const nameStore = createNameStore({ db });
  const membershipStore = createMembershipStore({ db });
  const selectAttachment = db.prepare(
    "SELECT number FROM attachment WHERE realm = ? AND origin = 'plugin' AND network = ? AND container_id = ? AND interface = ?",
  );

  const put = (id: string, { name, aliases }: EndpointNames, all: readonly Membership[]): void =>
    transaction(() => {
      const endpoint = store.endpoint(id);
      const network = endpoint === undefined ? undefined : store.network(endpoint.network);
      if (endpoint?.state !== 'ready' || network === undefined) return;
      if (!network.list.plugins.some(({ capabilities }) => capabilities.includes('aliases'))) return;
      const { realm } = endpoint;
      const row = selectAttachment.get(realm, network.name, id, interfaceName) as { number: number } | undefined;
      if (row === undefined) return;
      const addresses = (endpoint.spec.result?.ips ?? []).map(({ address }) => address.replace(/\/\d+$/u, ''));
      const ipam = network.list.plugins.find(({ ipamType }) => ipamType !== undefined)?.config['ipam'];
      const joined = { memberships: membershipsOn(all, network.name), addresses, ipam };
      // In place of what the plugins put: the id of an endpoint is nobody's name.
      const holder = { realm, network: network.name, holder: `${id}/${interfaceName}`, attachment: row.number };
      membershipStore.put(holder, joined);
      nameStore.put(holder, [...namesAt(addresses, 'container', [name]), ...namesAt(addresses, 'alias', aliases), ...memberNames(joined)]);
    });

  return (id, called) => {
    try {
      put(id, called, called.services === undefined ? [] : parseMemberships(called.services, membershipLabel));
    } catch (thrown) {
      // A label that is wrong takes no name away.
      put(id, called, []);
      throw thrown;
    }
  };
}
