import { namesAt } from '../attach/call-names.ts';
import type { NetworkDatabase } from '../attach/database.ts';
import { createNameStore } from '../attach/names.ts';
import { interfaceName } from './records.ts';
import type { CnmStore } from './store.ts';

/** By which names whoever is on a network finds an endpoint of it. */
export interface EndpointNames {
  readonly name: string;
  readonly aliases: readonly string[];
}

/**
 * As for everything else on a network: where its configuration declares the capability `aliases`, and for as long as the attachment stands
 * that our plugins made. Plugins of others write none down. Synchronous, for a Worker.
 */
export function createEndpointNames(
  { db, transaction }: NetworkDatabase,
  store: Pick<CnmStore, 'endpoint' | 'network'>,
): (endpoint: string, called: EndpointNames) => void {
  const nameStore = createNameStore({ db });
  const selectAttachment = db.prepare(
    "SELECT number FROM attachment WHERE realm = ? AND origin = 'plugin' AND network = ? AND container_id = ? AND interface = ?",
  );
  return (id, { name, aliases }) =>
    transaction(() => {
      const endpoint = store.endpoint(id);
      const network = endpoint === undefined ? undefined : store.network(endpoint.network);
      if (endpoint?.state !== 'ready' || network === undefined) return;
      if (!network.list.plugins.some(({ capabilities }) => capabilities.includes('aliases'))) return;
      const { realm } = endpoint;
      const row = selectAttachment.get(realm, network.name, id, interfaceName) as { number: number } | undefined;
      if (row === undefined) return;
      const addresses = (endpoint.spec.result?.ips ?? []).map(({ address }) => address.replace(/\/\d+$/u, ''));
      // In place of what the plugins put: the id of an endpoint is nobody's name.
      const holder = { realm, network: network.name, holder: `${id}/${interfaceName}`, attachment: row.number };
      nameStore.put(holder, [...namesAt(addresses, 'container', [name]), ...namesAt(addresses, 'alias', aliases)]);
    });
}
