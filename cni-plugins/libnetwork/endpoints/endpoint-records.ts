import { currentBootId, processIdentity, sameProcess } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import type { MadeEndpoint } from './endpoints.types.ts';
import { endpointUnknown, networkDamaged, networkUnknown } from '../protocol/failures.ts';
import type { CnmEndpoint, CnmNetwork, EndpointSpec } from '../acts/records.ts';

/** The records of endpoints and networks, as this driver process reads and writes them. */
export interface EndpointRecords {
  /** This process, whose identity is in each record that it writes. */
  readonly self: ProcessIdentity;
  /** Records that this process now works on the endpoint, and what changed. */
  write(
    endpoint: CnmEndpoint,
    state: CnmEndpoint['state'],
    change?: Partial<EndpointSpec>,
  ): Promise<CnmEndpoint>;
  /** @throws NETWORK_UNKNOWN (also if the record of the network is damaged) */
  network(id: string): Promise<CnmNetwork>;
  /**
   * Returns a network from which something is removed, also if its record is damaged. @throws NETWORK_UNKNOWN
   */
  networkOfRemoved(id: string): Promise<CnmNetwork>;
  /** Returns an endpoint that is ready. @throws NETWORK_CNM_ENDPOINT_UNKNOWN */
  require(id: string, network: string): Promise<MadeEndpoint>;
  /** Returns whether another driver process that is running wrote the record last. */
  isOfAnother(endpoint: CnmEndpoint): boolean;
}

/** Opens the records through the thread that writes them. */
export function createEndpointRecords(
  acts: Pick<ActsApart, 'update' | 'network' | 'endpoint'>,
): EndpointRecords {
  const self = processIdentity(process.pid) ?? { pid: process.pid, startTime: '', bootId: currentBootId() };

  const networkOfRemoved = async (id: string): Promise<CnmNetwork> => {
    const network = await acts.network(id);
    if (network === undefined) throw networkUnknown(id);
    return network;
  };
  const networkOf = async (id: string): Promise<CnmNetwork> => {
    const network = await networkOfRemoved(id);
    if (network.damaged === true) throw networkDamaged(id);
    return network;
  };

  return {
    self,
    async write(endpoint, state, change = {}) {
      const spec = { ...endpoint.spec, ...change, maker: self };
      await acts.update(endpoint.id, state, spec);
      return { ...endpoint, state, spec };
    },
    network: networkOf,
    networkOfRemoved,
    async require(id, network) {
      const endpoint = await acts.endpoint(id);
      const { result, link } = endpoint?.spec ?? {};
      if (
        endpoint?.network !== network ||
        endpoint.state !== 'ready' ||
        result === undefined ||
        link === undefined
      )
        throw endpointUnknown(id);
      return { endpoint, network: await networkOf(network), result, link };
    },
    isOfAnother: ({ spec: { maker } }) => maker.pid !== self.pid && sameProcess(maker),
  };
}
