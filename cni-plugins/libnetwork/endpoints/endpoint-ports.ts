import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { deleteChain } from '../../cni/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import { addPorts, chainLink, podOf } from './endpoint-chain.ts';
import type { EndpointRecords } from './endpoint-records.ts';
import type { Engine } from './endpoints.types.ts';
import { portsUnsupported } from '../protocol/failures.ts';
import { portsOnly } from './network-list.ts';
import type { PortBinding } from '../protocol/protocol.ts';
import type { CnmEndpoint } from '../acts/records.ts';
import type { StagedPlugins } from './staged-plugins.ts';

/** Publishes the host ports of endpoints by the port plugins of their network. */
export interface EndpointPorts {
  /**
   * Replaces what is published. A failure publishes nothing.
   * @throws NETWORK_CNM_ENDPOINT_UNKNOWN · NETWORK_CNM_PORTS · NETWORK_HOST_PORT_TAKEN · the errors of the
   * plugins
   */
  publish(id: string, network: string, bindings: readonly Required<PortBinding>[], by: Engine): Promise<void>;
  /** Succeeds if nothing is published. @returns the endpoint without ports */
  revoke(endpoint: CnmEndpoint, by: Engine): Promise<CnmEndpoint>;
}

export interface EndpointPortsDeps {
  readonly acts: Pick<ActsApart, 'claimPorts' | 'update'>;
  readonly records: EndpointRecords;
  readonly staged: StagedPlugins;
  readonly log: Pick<Logger, 'warn'>;
}

/** Returns the operations on host ports, which the caller orders for each endpoint. */
export function createEndpointPorts({ acts, records, staged, log }: EndpointPortsDeps): EndpointPorts {
  const revoke = async (endpoint: CnmEndpoint, { caller }: Engine): Promise<CnmEndpoint> => {
    const { id, spec } = endpoint;
    if (spec.ports === undefined) return endpoint;
    const network = await records.networkOfRemoved(endpoint.network);
    const link = { ...chainLink(network, spec), list: portsOnly(spec.list) };
    await staged(id, network, caller, (run, netns) => deleteChain(run, link, podOf(id, netns, spec)));
    const { ports: _gone, ...rest } = spec;
    await acts.update(id, endpoint.state, rest);
    return { ...endpoint, spec: rest };
  };

  return {
    async publish(id, of, bindings, by) {
      const { endpoint, network, result } = await records.require(id, of);
      const { ports } = endpoint.spec;
      if (ports?.done === true && JSON.stringify(ports.bindings) === JSON.stringify(bindings)) return;
      const unpublished = await revoke(endpoint, by);
      if (bindings.length === 0) return;
      if (portsOnly(unpublished.spec.list).plugins.length === 0) throw portsUnsupported(network.name);
      const spec = await acts.claimPorts(unpublished, bindings, by.caller);
      const claimed = { ...unpublished, spec };
      try {
        await staged(id, network, by.caller, (run, netns) =>
          addPorts(run, network, spec, podOf(id, netns, spec), result),
        );
      } catch (thrown) {
        await revoke(claimed, by).catch((left: unknown) =>
          log.warn({ endpoint: id, why: reasonOf(left) }, 'host ports could not be given back at once'),
        );
        throw thrown;
      }
      await acts.update(id, 'ready', {
        ...spec,
        ...(spec.ports !== undefined && { ports: { ...spec.ports, done: true } }),
      });
    },
    revoke,
  };
}
