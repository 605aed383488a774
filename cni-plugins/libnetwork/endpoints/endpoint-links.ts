import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { addChain, deleteChain } from '../../cni/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import { chainLink, needsInterface, podOf } from './endpoint-chain.ts';
import type { EndpointRecords } from './endpoint-records.ts';
import { requireWanted } from './endpoint-reply.ts';
import type { Engine } from './endpoints.types.ts';
import { endpointBusy } from '../protocol/failures.ts';
import { portsOnly, withoutPorts } from './network-list.ts';
import { linkNameOf } from '../acts/records.ts';
import type { CnmEndpoint, CnmNetwork } from '../acts/records.ts';
import type { StagedPlugins } from './staged-plugins.ts';

/** Creates the links of endpoints, and removes endpoints with everything that they have. */
export interface EndpointLinks {
  /**
   * The plugins create the link in a staging namespace; then it moves to the engine's namespace. What a
   * failure leaves is recorded.
   */
  make(begun: CnmEndpoint, network: CnmNetwork, by: Engine): Promise<CnmEndpoint>;
  /**
   * Removes an endpoint: host ports, link, addresses, record.
   * @throws NETWORK_BUSY: another driver process works on it · the errors of the plugins; then the record
   * stays, and the call can be repeated
   */
  undo(existing: CnmEndpoint, by: Engine): Promise<void>;
}

export interface EndpointLinksDeps {
  readonly acts: Pick<ActsApart, 'handOver' | 'takeBack' | 'standIn' | 'dropLink' | 'drop'>;
  readonly records: EndpointRecords;
  readonly staged: StagedPlugins;
  readonly log: Pick<Logger, 'warn'>;
}

/** Returns the operations on links, which the caller orders for each endpoint. */
export function createEndpointLinks({ acts, records, staged, log }: EndpointLinksDeps): EndpointLinks {
  return {
    async make(begun, network, { caller }) {
      const { id, spec } = begun;
      const list = withoutPorts(spec.list);
      return staged(
        id,
        network,
        caller,
        async (run, netns) => {
          const result = await addChain(run, { ...chainLink(network, spec), list }, podOf(id, netns, spec));
          const described = await records.write(begun, 'making', { result });
          requireWanted(network, spec.wanted, result);
          const link = await acts.handOver(id, caller, {
            network: network.name,
            name: linkNameOf(id),
            mac: spec.mac,
          });
          return records.write(described, 'ready', { link });
        },
        'kept when it fails',
      );
    },
    async undo(existing, { caller }) {
      if (records.isOfAnother(existing)) throw endpointBusy(existing.id);
      const network = await records.networkOfRemoved(existing.network);
      const { id, spec } = await records.write(existing, 'removing');
      const ips = spec.result?.ips ?? [];
      const link = chainLink(network, spec);
      const failures: unknown[] = [];
      const attempt = async (act: () => Promise<void>): Promise<void> =>
        act().catch((thrown: unknown) => void failures.push(thrown));
      await staged(id, network, caller, async (run, netns) => {
        const pod = podOf(id, netns, spec);
        const findsLink = network.way === 'exec' && needsInterface(spec.list);
        const removeLink = (): Promise<void> =>
          deleteChain(run, { ...link, list: withoutPorts(spec.list) }, pod);
        const back = await acts.takeBack(id, caller, linkNameOf(id), ips);
        if (!back && findsLink) await acts.standIn(id, caller, ips);
        if (spec.ports !== undefined)
          await attempt(() => deleteChain(run, { ...link, list: portsOnly(spec.list) }, pod));
        await attempt(async () => {
          try {
            await removeLink();
          } catch (thrown) {
            if (existing.state !== 'removing' || !findsLink) throw thrown;
            // An earlier DEL got as far as the rules. If upstream's plugin bridge finds the link, it then
            // fails every time at the first rule that is gone.
            log.warn(
              { endpoint: id, why: reasonOf(thrown) },
              'a plugin could not be deleted once more; it is tried without the link',
            );
            await acts.dropLink(id);
            await removeLink();
          }
        });
      });
      if (failures.length > 0) throw failures[0];
      await acts.drop(id);
    },
  };
}
