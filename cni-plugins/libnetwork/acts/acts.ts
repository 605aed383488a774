import type { NetworkDatabase } from '../../database/database.ts';
import type { Hosts } from '../../namespaces/caller.ts';
import type { Caller } from '../../calls/plugin-call.ts';
import { listRoutes } from '../../../base/netlink/index.ts';
import { ipFromBytes } from '../../../base/addresses/index.ts';
import type { PortMapping } from '../../types.ts';
import { choosePorts, takenPorts } from './host-ports.ts';
import { createEndpointNames } from './endpoint-names.ts';
import type { EndpointNames } from './endpoint-names.ts';
import { isListenedAt } from '../../database/host-sockets.ts';
import { createPools } from './pools.ts';
import type { Pools } from './pools.ts';
import type { PortBinding, RequestPoolReply, RequestPoolRequest } from '../protocol/protocol.ts';
import type { CnmEndpoint, EndpointSpec } from './records.ts';
import { openStaging } from './staging.ts';
import type { Staging } from './staging.ts';
import { createCnmStore } from './store.ts';
import type { CnmStore } from './store.ts';

/**
 * All operations of the driver on database and kernel. Each is synchronous, and one Worker runs them one
 * after another.
 */
export interface CnmActs extends CnmStore, Omit<Pools, 'requestPool'> {
  /** Returns the host network namespace of the caller's network namespace, as in the table `attachment`. */
  namespaceId(caller: Caller): string;
  readonly stage: Staging['open'];
  readonly unstage: Staging['close'];
  readonly handOver: Staging['handOver'];
  readonly takeBack: Staging['takeBack'];
  readonly standIn: Staging['standIn'];
  readonly dropLink: Staging['dropLink'];
  readonly placeOf: Staging['placeOf'];
  readonly missing: Staging['missing'];
  readonly removeBridges: Staging['removeBridges'];
  /**
   * Records the host ports of the endpoint before any plugin receives them.
   * @throws NETWORK_HOST_PORT_TAKEN
   */
  claimPorts(endpoint: CnmEndpoint, bindings: readonly Required<PortBinding>[], caller: Caller): EndpointSpec;
  /**
   * Replaces the names by which others on its network find an endpoint. Does nothing for an endpoint that we
   * must not name.
   */
  putNames(endpoint: string, called: EndpointNames): void;
  requestPool(request: Required<RequestPoolRequest>, caller: Caller): RequestPoolReply;
}

export function createActs(database: NetworkDatabase, hosts: Hosts, folder: string): CnmActs {
  const store = createCnmStore(database);
  const pools = createPools(database);
  const putNames = createEndpointNames(database, store);
  const { open, close, ...staging } = openStaging(folder, hosts);
  return {
    ...store,
    ...pools,
    ...staging,
    stage: open,
    unstage: close,
    // The containers that docker reports live in the network namespace of this process.
    putNames: (endpoint, called) => putNames(endpoint, called, isListenedAt),
    namespaceId: ({ netnsFd }) =>
      hosts.with(netnsFd === undefined ? {} : { netnsFd }, ({ namespaceId }) => namespaceId),
    claimPorts: ({ id, namespaceId, state, spec }, bindings, { netnsFd }) =>
      database.transaction(() => {
        const taken = takenPorts(database, namespaceId, store.endpoints(), id);
        const mappings: PortMapping[] = hosts.with(netnsFd === undefined ? {} : { netnsFd }, ({ inside }) =>
          inside(() => choosePorts(bindings, taken, isListenedAt)),
        );
        const claimed = { ...spec, ports: { bindings, mappings } };
        store.update(id, state, claimed);
        return claimed;
      }),
    requestPool: (request, { netnsFd }) =>
      pools.requestPool(
        request,
        hosts.with(netnsFd === undefined ? {} : { netnsFd }, ({ route }) =>
          listRoutes(route)
            .filter(({ length }) => length > 0)
            .map(({ destination, length }) => ({ address: ipFromBytes(destination), length })),
        ),
        store.networks().flatMap(({ ipv4, ipv6 }) => [...ipv4, ...ipv6].map(({ Pool }) => Pool)),
      ),
  };
}
