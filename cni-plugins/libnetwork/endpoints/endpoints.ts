import { isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import type { ActsApart } from '../acts/act-thread.ts';
import type { StepOptions } from './engine-host.ts';
import { createEndpointLinks } from './endpoint-links.ts';
import { createEndpointPorts } from './endpoint-ports.ts';
import { createEndpointRecords } from './endpoint-records.ts';
import type { Endpoints, Engine, MadeEndpoint } from './endpoints.types.ts';
import { droppedByOthers, endpointStands } from '../protocol/failures.ts';
import { endpointList, macOf } from './network-list.ts';
import type { EndpointInterface } from '../protocol/protocol.ts';
import type { CnmEndpoint, EndpointSpec } from '../acts/records.ts';
import { createStagedPlugins } from './staged-plugins.ts';
import type { KeyedQueue } from '../../../base/queues/index.ts';
import { createUnusedEndpoints } from './unused-endpoints.ts';

export interface EndpointsDeps extends StepOptions {
  readonly stagingDir: string;
  readonly acts: ActsApart;
  readonly turns: KeyedQueue;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

/** Composes the operations on endpoints. Those on one endpoint run one after another. */
export function createEndpoints({ acts, turns, log, stagingDir, ...options }: EndpointsDeps): Endpoints {
  const records = createEndpointRecords(acts);
  const staged = createStagedPlugins({ acts, stagingDir, ...options });
  const links = createEndpointLinks({ acts, records, staged, log });
  const ports = createEndpointPorts({ acts, records, staged, log });
  const unused = createUnusedEndpoints({ acts, records, links, turns, log });

  const create = async (
    id: string,
    of: string,
    wanted: EndpointInterface,
    by: Engine,
  ): Promise<MadeEndpoint> => {
    const network = await records.network(of);
    const mac = macOf(network, wanted);
    const list = endpointList(network, { ...wanted, MacAddress: mac });
    const spec: EndpointSpec = {
      wanted,
      mac,
      maker: records.self,
      list,
      ...(by.identity !== undefined && { owner: by.identity }),
    };
    const namespaceId = await acts.namespaceId(by.caller);
    const existing = await acts.begin({ id, network: of, namespaceId, spec });
    if (existing?.state === 'ready') {
      // The engine repeats the call because the answer was lost.
      if (JSON.stringify(existing.spec.wanted) !== JSON.stringify(wanted)) throw endpointStands(id);
      return records.require(id, of);
    }
    if (existing !== undefined) {
      await links.undo(existing, by);
      await acts.begin({ id, network: of, namespaceId, spec });
    }
    const begun: CnmEndpoint = { id, network: of, namespaceId, state: 'making', spec };
    try {
      await links.make(begun, network, by);
    } catch (thrown) {
      await links
        .undo((await acts.endpoint(id)) ?? begun, by)
        .catch((left: unknown) =>
          log.warn(
            { endpoint: id, why: reasonOf(left) },
            'a failed endpoint could not be removed at once; it is tried again',
          ),
        );
      throw network.own && isPortcullisError(thrown) && thrown.code === 'NETWORK_FIREWALL_DROPPED_BY_OTHERS'
        ? droppedByOthers(thrown)
        : thrown;
    }
    return records.require(id, of);
  };

  const setSandbox = async (
    id: string,
    network: string,
    sandbox: string | undefined,
    by: Engine,
  ): Promise<MadeEndpoint | undefined> => {
    const endpoint = await acts.endpoint(id);
    // Leaving succeeds if the endpoint is gone, partly removed or damaged, or its network is damaged.
    if (sandbox === undefined && endpoint?.state !== 'ready') return undefined;
    if (sandbox === undefined && (await acts.network(network))?.damaged === true) return undefined;
    const made = await records.require(id, network);
    const { sandbox: _left, ...spec } = made.endpoint.spec;
    const { identity } = by;
    await acts.update(id, 'ready', {
      ...spec,
      ...(sandbox !== undefined && { sandbox }),
      ...(identity !== undefined && { owner: identity }),
    });
    return made;
  };

  return {
    create: (id, network, wanted, by) => turns.run(id, () => create(id, network, wanted, by)),
    remove: (id, by) =>
      turns.run(id, async () => {
        const endpoint = await acts.endpoint(id);
        if (endpoint !== undefined) await links.undo(endpoint, by);
      }),
    require: records.require,
    setSandbox: (id, network, sandbox, by) => turns.run(id, () => setSandbox(id, network, sandbox, by)),
    publish: (id, network, bindings, by) => turns.run(id, () => ports.publish(id, network, bindings, by)),
    unpublish: (id, by) =>
      turns.run(id, async () => {
        const endpoint = await acts.endpoint(id);
        if (endpoint !== undefined) await ports.revoke(endpoint, by);
      }),
    ...unused,
  };
}
