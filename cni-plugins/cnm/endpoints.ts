import { join } from 'node:path';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { currentBootId, processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Caller } from '../attach/plugin-call.ts';
import { bareType } from '../attach/plugin-type.ts';
import { addChain, deleteChain } from '../invoke/chain.ts';
import type { ChainLink, ChainPod } from '../invoke/chain.types.ts';
import { stepOf } from '../invoke/step.ts';
import type { RunStep } from '../invoke/step.ts';
import type { PluginList } from '../spec/plugin-list.ts';
import type { CniResult } from '../spec/result.ts';
import type { ActsApart } from './act-thread.ts';
import { stepsIn } from './engine-host.ts';
import type { StepOptions } from './engine-host.ts';
import { requireWanted } from './endpoint-reply.ts';
import { droppedByOthers, endpointBusy, endpointStands, endpointUnknown, networkUnknown, portsUnsupported } from './failures.ts';
import { endpointList, macOf, portsOnly, withoutPorts } from './network-list.ts';
import type { EndpointInterface, PortBinding } from './protocol.ts';
import { holding, withPluginLock } from './plugin-lock.ts';
import { interfaceName, linkNameOf } from './records.ts';
import type { CnmEndpoint, CnmNetwork, EndpointLink, EndpointSpec } from './records.ts';
import type { LinkPlace } from './staging.ts';
import type { Turns } from './turns.ts';

/**
 * Creates, publishes and removes endpoints. Each step is recorded before and after it is executed. A repeated
 * call is executed only once.
 */
export interface Endpoints {
  create(id: string, network: string, wanted: EndpointInterface, by: Engine): Promise<MadeEndpoint>;
  /** Succeeds if the endpoint is already gone. */
  remove(id: string, by: Engine): Promise<void>;
  /** @throws NETWORK_CNM_ENDPOINT_UNKNOWN */
  require(id: string, network: string): Promise<MadeEndpoint>;
  setSandbox(id: string, network: string, sandbox: string | undefined, by: Engine): Promise<MadeEndpoint | undefined>;
  publish(id: string, network: string, bindings: readonly Required<PortBinding>[], by: Engine): Promise<void>;
  /** Succeeds if nothing is published, or if the endpoint is gone. */
  unpublish(id: string, by: Engine): Promise<void>;
  /** Removes endpoints that no container has and that their engine no longer knows. */
  sweep(which: (endpoint: CnmEndpoint) => boolean, by: Engine): Promise<void>;
  /**
   * Removes what crashed processes left half-created, and endpoints that no container can have any more.
   * @param which only those whose engine is gone
   */
  reconcile(by: Engine, which?: 'of the dead'): Promise<void>;
}

/** The engine that calls: its namespaces and its process. */
export interface Engine {
  readonly caller: Caller;
  readonly identity?: ProcessIdentity;
}

export interface MadeEndpoint {
  readonly endpoint: CnmEndpoint;
  readonly network: CnmNetwork;
  readonly result: CniResult;
  readonly link: EndpointLink;
}

export interface EndpointParts extends StepOptions {
  readonly stagingDir: string;
  readonly acts: ActsApart;
  readonly turns: Turns;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export function createEndpoints({ acts, turns, log, stagingDir, ...options }: EndpointParts): Endpoints {
  const self = processIdentity(process.pid) ?? { pid: process.pid, startTime: '', bootId: currentBootId() };

  const write = async (endpoint: CnmEndpoint, state: CnmEndpoint['state'], change: Partial<EndpointSpec> = {}): Promise<CnmEndpoint> => {
    const spec = { ...endpoint.spec, ...change, maker: self };
    await acts.update(endpoint.id, state, spec);
    return { ...endpoint, state, spec };
  };

  const networkOf = async (id: string): Promise<CnmNetwork> => {
    const network = await acts.network(id);
    if (network === undefined) throw networkUnknown(id);
    return network;
  };

  const require = async (id: string, network: string): Promise<MadeEndpoint> => {
    const endpoint = await acts.endpoint(id);
    const { result, link } = endpoint?.spec ?? {};
    if (endpoint?.network !== network || endpoint.state !== 'ready' || result === undefined || link === undefined)
      throw endpointUnknown(id);
    return { endpoint, network: await networkOf(network), result, link };
  };

  const refuseBusy = ({ id, spec: { maker } }: CnmEndpoint): void => {
    if (maker.pid !== self.pid && sameProcess(maker)) throw endpointBusy(id);
  };

  /**
   * Runs plugins on an endpoint in its staging namespace. Plugins that a killed driver started have ended
   * before.
   */
  const staged = <T>(
    id: string,
    network: CnmNetwork,
    caller: Caller,
    act: (run: RunStep, netns: string) => Promise<T>,
    kept?: 'kept when it fails',
  ): Promise<T> => {
    const inStage = async (run: RunStep): Promise<T> => {
      const netns = await acts.stage(id);
      let done = false;
      try {
        const value = await act(run, netns);
        done = true;
        return value;
      } finally {
        if (done || kept === undefined) await acts.unstage(id);
      }
    };
    if (network.way === 'in-process') return inStage(stepsIn(caller, network.way, options));
    const { programs } = options;
    return withPluginLock(join(stagingDir, `${id}.lock`), id, programs.timeoutMs, (fd) =>
      inStage(stepsIn(caller, network.way, { ...options, programs: { ...programs, startProgram: holding(programs.startProgram, fd) } })),
    );
  };

  const undo = async (standing: CnmEndpoint, { caller }: Engine): Promise<void> => {
    refuseBusy(standing);
    const network = await networkOf(standing.network);
    const { id, spec } = await write(standing, 'removing');
    const ips = spec.result?.ips ?? [];
    const link = chainLink(network, spec);
    const failures: unknown[] = [];
    const attempt = async (act: () => Promise<void>): Promise<void> => act().catch((thrown: unknown) => void failures.push(thrown));
    await staged(id, network, caller, async (run, netns) => {
      const pod = podOf(id, netns, spec);
      const findsLink = network.way === 'exec' && needsInterface(spec.list);
      const removeLink = (): Promise<void> => deleteChain(run, { ...link, list: withoutPorts(spec.list) }, pod);
      const back = await acts.takeBack(id, caller, linkNameOf(id), ips);
      if (!back && findsLink) await acts.standIn(id, caller, ips);
      if (spec.ports !== undefined) await attempt(() => deleteChain(run, { ...link, list: portsOnly(spec.list) }, pod));
      await attempt(async () => {
        try {
          await removeLink();
        } catch (thrown) {
          if (standing.state !== 'removing' || !findsLink) throw thrown;
          // An earlier DEL got as far as the rules. If upstream's plugin bridge finds the link, it then fails
          // every time at the first rule that is gone.
          log.warn({ endpoint: id, why: reasonOf(thrown) }, 'a plugin could not be deleted once more; it is tried without the link');
          await acts.dropLink(id);
          await removeLink();
        }
      });
    });
    if (failures.length > 0) throw failures[0];
    await acts.drop(id);
  };

  /** The plugins create the link in a staging namespace; then it moves to the engine's namespace. */
  const make = async (begun: CnmEndpoint, network: CnmNetwork, { caller }: Engine): Promise<CnmEndpoint> => {
    const { id, spec } = begun;
    const list = withoutPorts(spec.list);
    return staged(
      id,
      network,
      caller,
      async (run, netns) => {
        const result = await addChain(run, { ...chainLink(network, spec), list }, podOf(id, netns, spec));
        const described = await write(begun, 'making', { result });
        requireWanted(network, spec.wanted, result);
        const link = await acts.handOver(id, caller, { network: network.name, name: linkNameOf(id), mac: spec.mac });
        return write(described, 'ready', { link });
      },
      'kept when it fails',
    );
  };

  const create = async (id: string, of: string, wanted: EndpointInterface, by: Engine): Promise<MadeEndpoint> => {
    const network = await networkOf(of);
    const mac = macOf(network, wanted);
    const list = endpointList(network, { ...wanted, MacAddress: mac });
    const spec: EndpointSpec = { wanted, mac, maker: self, list, ...(by.identity !== undefined && { owner: by.identity }) };
    const realm = await acts.realm(by.caller);
    const standing = await acts.begin({ id, network: of, realm, spec });
    if (standing?.state === 'ready') {
      // The engine repeats the call because the answer was lost.
      if (JSON.stringify(standing.spec.wanted) !== JSON.stringify(wanted)) throw endpointStands(id);
      return require(id, of);
    }
    if (standing !== undefined) {
      await undo(standing, by);
      await acts.begin({ id, network: of, realm, spec });
    }
    const begun: CnmEndpoint = { id, network: of, realm, state: 'making', spec };
    try {
      await make(begun, network, by);
    } catch (thrown) {
      await undo((await acts.endpoint(id)) ?? begun, by).catch((left: unknown) =>
        log.warn({ endpoint: id, why: reasonOf(left) }, 'a failed endpoint could not be removed at once; it is tried again'),
      );
      throw network.own && isPortcullisError(thrown) && thrown.code === 'NETWORK_FIREWALL_DROPPED_BY_OTHERS'
        ? droppedByOthers(thrown)
        : thrown;
    }
    return require(id, of);
  };

  const revoke = async (endpoint: CnmEndpoint, { caller }: Engine): Promise<CnmEndpoint> => {
    const { id, spec } = endpoint;
    if (spec.ports === undefined) return endpoint;
    const network = await networkOf(endpoint.network);
    const link = { ...chainLink(network, spec), list: portsOnly(spec.list) };
    await staged(id, network, caller, (run, netns) => deleteChain(run, link, podOf(id, netns, spec)));
    const { ports: _gone, ...rest } = spec;
    await acts.update(id, endpoint.state, rest);
    return { ...endpoint, spec: rest };
  };

  const publish = async (id: string, of: string, bindings: readonly Required<PortBinding>[], by: Engine): Promise<void> => {
    const { endpoint, network, result } = await require(id, of);
    const { ports } = endpoint.spec;
    if (ports?.done === true && JSON.stringify(ports.bindings) === JSON.stringify(bindings)) return;
    const unpublished = await revoke(endpoint, by);
    if (bindings.length === 0) return;
    if (portsOnly(unpublished.spec.list).plugins.length === 0) throw portsUnsupported(network.name);
    const spec = await acts.claimPorts(unpublished, bindings, by.caller);
    const claimed = { ...unpublished, spec };
    try {
      await staged(id, network, by.caller, (run, netns) => addPorts(run, network, spec, podOf(id, netns, spec), result));
    } catch (thrown) {
      await revoke(claimed, by).catch((left: unknown) =>
        log.warn({ endpoint: id, why: reasonOf(left) }, 'host ports could not be given back at once'),
      );
      throw thrown;
    }
    await acts.update(id, 'ready', { ...spec, ...(spec.ports !== undefined && { ports: { ...spec.ports, done: true } }) });
  };

  const placeOf = ({ spec }: CnmEndpoint, { caller }: Engine): Promise<LinkPlace> => {
    const hostLinks = (spec.result?.interfaces ?? []).filter(({ sandbox }) => (sandbox ?? '') === '').map(({ name }) => name);
    return acts.placeOf(caller, spec.link, spec.sandbox, hostLinks);
  };

  /**
   * Returns whether no container has the endpoint: its engine is gone, or its container ended while no driver
   * could be told.
   */
  const isStale = async (endpoint: CnmEndpoint, by: Engine): Promise<boolean> => {
    const { owner } = endpoint.spec;
    const place = await placeOf(endpoint, by);
    return place === 'nowhere' || (place === 'host' && (owner === undefined || !sameProcess(owner)));
  };

  const reconcileOne = async (id: string, realm: string, by: Engine, which?: 'of the dead'): Promise<void> => {
    const endpoint = await acts.endpoint(id);
    if (endpoint === undefined) return;
    const { owner } = endpoint.spec;
    // An engine that is running may move links between two checks.
    if (which !== undefined && owner !== undefined && sameProcess(owner)) return;
    const former = !endpoint.realm.startsWith(`${currentBootId()}/`);
    if (!former && endpoint.realm !== realm) return;
    if (endpoint.state === 'ready' && !former && !(await isStale(endpoint, by))) return;
    if (endpoint.state !== 'ready' && endpoint.spec.maker.pid !== self.pid && sameProcess(endpoint.spec.maker)) return;
    await undo(endpoint, by);
    log.info({ endpoint: id, network: endpoint.network, state: endpoint.state }, 'an endpoint that no container has was removed');
  };

  return {
    create: (id, network, wanted, by) => turns.take(id, () => create(id, network, wanted, by)),
    remove: (id, by) =>
      turns.take(id, async () => {
        const endpoint = await acts.endpoint(id);
        if (endpoint !== undefined) await undo(endpoint, by);
      }),
    require,
    setSandbox: (id, network, sandbox, by) =>
      turns.take(id, async () => {
        const endpoint = await acts.endpoint(id);
        // Leaving an endpoint that is gone, or partly removed, succeeds.
        if (sandbox === undefined && endpoint?.state !== 'ready') return undefined;
        const made = await require(id, network);
        const { sandbox: _left, ...spec } = made.endpoint.spec;
        const { identity } = by;
        await acts.update(id, 'ready', {
          ...spec,
          ...(sandbox !== undefined && { sandbox }),
          ...(identity !== undefined && { owner: identity }),
        });
        return made;
      }),
    publish: (id, network, bindings, by) => turns.take(id, () => publish(id, network, bindings, by)),
    unpublish: (id, by) =>
      turns.take(id, async () => {
        const endpoint = await acts.endpoint(id);
        if (endpoint !== undefined) await revoke(endpoint, by);
      }),
    async sweep(which, by) {
      for (const { id } of (await acts.endpoints()).filter(which))
        await turns.take(id, async () => {
          const endpoint = await acts.endpoint(id);
          if (endpoint !== undefined && (endpoint.state !== 'ready' || (await placeOf(endpoint, by)) !== 'container'))
            await undo(endpoint, by);
        });
    },
    async reconcile(by, which) {
      const realm = await acts.realm(by.caller);
      for (const { id } of await acts.endpoints()) {
        try {
          await turns.take(id, () => reconcileOne(id, realm, by, which));
        } catch (thrown) {
          if (isPortcullisError(thrown) && thrown.code === 'NETWORK_BUSY') continue;
          log.warn({ endpoint: id, why: reasonOf(thrown) }, 'an endpoint that no container has could not be removed; it is tried again');
        }
      }
    },
  };
}

const podOf = (id: string, netns: string, { mac }: EndpointSpec): ChainPod => ({
  id,
  netns,
  pod: { name: '', namespace: '', uid: '' },
  args: { IgnoreUnknown: '1', ...(mac !== '' && { MAC: mac }) },
});

function chainLink(network: CnmNetwork, { list, wanted, mac, result, ports }: EndpointSpec): ChainLink {
  const ips = [wanted.Address, wanted.AddressIPv6].filter((address) => address !== '');
  const capabilityArgs = {
    ...(ips.length > 0 && { ips }),
    ...(mac !== '' && { mac }),
    ...(ports !== undefined && {
      portMappings: ports.mappings.map(({ hostIp, ...mapping }) => ({ ...mapping, ...(hostIp !== undefined && { hostIP: hostIp }) })),
    }),
  };
  return {
    network: network.name,
    interface: interfaceName,
    way: network.way,
    list,
    capabilityArgs,
    ...(result !== undefined && { result }),
  };
}

/** Calls the port plugins after the link was made. Each receives the previous result. */
async function addPorts(run: RunStep, network: CnmNetwork, spec: EndpointSpec, pod: ChainPod, made: CniResult): Promise<void> {
  let prevResult = made;
  for (const plugin of portsOnly(spec.list).plugins)
    prevResult = (await run(stepOf('ADD', chainLink(network, spec), plugin, pod, { prevResult }))) ?? prevResult;
}

const needsInterface = ({ plugins }: PluginList): boolean => plugins.some(({ type }) => ['bridge', 'ptp'].includes(bareType(type)));
