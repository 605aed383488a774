import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { isRefusal } from '../netlink/kernel-failure.ts';
import { linksOfOthers, planReconciliation, unclaimedLinks, unusedBridges } from '../reconcile/plan.ts';
import type { Operation } from '../reconcile/plan.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import { membershipsOn, readMemberships } from '../spec/memberships.ts';
import type { Membership } from '../spec/memberships.ts';
import { ownerOfPod, refuseClosedPorts } from '../spec/service-rules.ts';
import { isListenedAt } from './host-sockets.ts';
import { rulesOf } from './memberships.ts';
import type { NetworkConfig } from '../spec/network-config.ts';
import type { CniResult } from '../spec/result.ts';
import type { ChainJob, ChainLink } from '../invoke/chain.types.ts';
import type { PolicyFollower } from '../policy/kubernetes/folder.ts';
import { denialsOf } from '../policy/denials.ts';
import { policyPodOf } from '../policy/open-pod.ts';
import { explainDenial } from '../policy/explanation/explain.ts';
import { linkStateOf } from '../policy/link-state.ts';
import type {
  AttachRequest,
  Denial,
  DenialExplanation,
  DenialQuestion,
  LinkClass,
  LinkRepairs,
  LinkRules,
  LinkState,
  NetworkStatus,
  PortMapping,
} from '../types.ts';
import type { HostKernel } from './host-kernel.ts';
import { chainLinks, chainSpec, furtherLinks, jobOf, notHeld, specOfResults } from './chained-pods.ts';
import { createChainedPlugins } from './chained-plugins.ts';
import { createDepartures } from './departures.ts';
import { createLostLinks } from './lost-links.ts';
import { ofAnotherRoot } from './namespace-claim.ts';
import { namespaceStands, withPodNamespace } from './netns.ts';
import type { PodNamespace } from './netns.ts';
import { statusOf } from './network-status.ts';
import { isCore } from './networks.ts';
import type { NetworkFolder } from './networks.ts';
import { unknownSandbox } from './plugin-errors.ts';
import type { PluginCore } from './plugin-engine.ts';
import { claimedLinks, hasUnheldLink, heldLinks, hostInterfaceOf, isByChain, isHeld, pluginInterfaceOf } from './record.ts';
import type { AttachmentRecord, HeldLink } from './record.ts';
import { bareType } from './plugin-type.ts';
import { checkedMappings, refuseHostPort, specOf } from './request.ts';
import { addLinks, addPod, changeClass } from './ruleset.ts';
import { createStandingRules } from './standing-rules.ts';
import type { Claim, NetworkStore } from './store.ts';

/**
 * The engine's operations, synchronous, one at a time: first the intent in the store, then the kernel, then
 * the record.
 */
export interface NetworkCore {
  /** Changes nothing. @throws NETWORK_LINKS_OF_ANOTHER_ROOT if there are pod links of another root */
  refuseOthers(): void;
  /** Brings the kernel to the recorded state. */
  reconcile(): void;
  /**
   * Attaches a pod. If plugins attach it, a job is returned, and the pod is only recorded until `joined`.
   * What an earlier attempt of the plugins left is returned as `stale`.
   */
  attach(request: AttachRequest): Begun;
  joined(id: string, results: readonly CniResult[]): AttachmentRecord;
  /**
   * Begins a detach. Returns the job that plugins must undo before `left`. Without a job, the pod is
   * detached.
   */
  leave(id: string): ChainJob | undefined;
  left(id: string): void;
  /** Returns the attachments that plugins created: the unclaimed ones and the claimed ones. */
  jobs(valid: ReadonlySet<string>): { readonly unclaimed: readonly ChainJob[]; readonly claimed: readonly ChainJob[] };
  setClass(id: string, linkClass: LinkClass, rules: LinkRules): AttachmentRecord;
  denials(): readonly Denial[];
  /** Returns how often a difference from the record was found and repaired. */
  repairs(): number;
  /** Returns how many links were still lost after the last check. */
  linksLost(): number;
  linkState(id: string): LinkState | undefined;
  explain(question: DenialQuestion): DenialExplanation;
  /**
   * Checks whether the NetworkPolicies changed or rules were removed (`nft flush ruleset`), and updates the
   * kernel.
   */
  policies(): void;
  gc(valid: ReadonlySet<string>): LinkRepairs;
  /**
   * Restores links that another program took from running pods.
   * @param force also links for which this was tried a moment ago
   */
  repairLinks(force: boolean): LinkRepairs;
  /**
   * Also restores rules that were removed (`nft flush ruleset`), because without them nothing would be
   * denied.
   */
  status(): NetworkStatus;
  /** Returns the attachments that are ready. */
  records(): readonly AttachmentRecord[];
  /**
   * Does the work of the last call that no caller waits for. Must run before the next call, under the same
   * lock.
   */
  finish(): void;
  /**
   * Frees what the kernel has released. `force` makes the kernel release it now. Returns how many attachments
   * are still held.
   */
  reap(force: boolean): number;
  /** Removes bridges and tables if nothing is attached. */
  removeAll(): void;
}

export type Begun = { readonly record: AttachmentRecord; readonly job?: ChainJob; readonly stale?: never } | { readonly stale: ChainJob };

export interface CoreParts {
  /** Follows the NetworkPolicies. */
  readonly policies: PolicyFollower;
  readonly store: NetworkStore;
  readonly kernel: HostKernel;
  /** For the plugins of a conflist that follow the bridge. */
  readonly plugins: Pick<PluginCore, 'call'>;
  readonly networks: NetworkFolder;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export function createNetworkCore({ store, kernel, plugins, networks, log, policies }: CoreParts): NetworkCore {
  const rules = createStandingRules({ store, kernel, policies, log });
  const departures = createDepartures({ store, kernel, rules });
  const chained = createChainedPlugins(plugins, log);
  const { reap } = departures;
  let repairs = 0;

  const release = (record: AttachmentRecord): void => departures.release(record, chained.remove);

  const make = (record: AttachmentRecord, pod: PodNamespace): void => {
    try {
      kernel.connect(record.spec, pod);
    } catch (thrown) {
      // The namespace was attached before, and its former link is not gone yet.
      if (!isRefusal(thrown, 'EEXIST') || departures.waiting() === 0) throw thrown;
      reap(true);
      kernel.connect(record.spec, pod);
    }
    departures.renewPorts(record);
  };

  const mappingsFor = (request: AttachRequest, network: NetworkConfig): PortMapping[] => {
    const mappings = checkedMappings(request);
    if (network.portMap !== undefined || mappings.length === 0) return mappings;
    log.warn(
      { id: request.id, network: network.name },
      'host ports are ignored: the conflist has no portmap plugin with the capability portMappings',
    );
    return [];
  };

  const membershipsOf = (request: AttachRequest, network: NetworkConfig): readonly Membership[] => {
    const joined = membershipsOn(readMemberships(request.capabilities?.['services'] ?? [], 'services'), network.name);
    if (joined.length > 0 && network.named !== true)
      log.warn(
        { id: request.id, network: network.name },
        'services are not joined: the conflist of the network does not declare the capability aliases',
      );
    return joined;
  };

  /**
   * Runs before any link is created, by whichever plugin: a network that would not open an ingress port
   * refuses the pod instead of only omitting the port.
   */
  const refuseClosed = (request: AttachRequest, network: LoadedNetwork | undefined): void => {
    if (network === undefined) return;
    const joined = membershipsOn(readMemberships(request.capabilities?.['services'] ?? [], 'services'), network.name);
    if (joined.every(({ ingressPorts }) => ingressPorts.length === 0)) return;
    const rules = rulesOf(network.list.plugins[0]?.config ?? {}, network.name);
    refuseClosedPorts(rules, ownerOfPod(request.pod.namespace), joined, (port) => isListenedAt({ ...port, hostIp: '' }));
  };

  /**
   * A program of the host, such as its resolver, keeps its port, unless the network's file says otherwise.
   */
  const refuseHostPorts = (request: AttachRequest, network: LoadedNetwork): void => {
    const portmap = network.list.plugins.find(
      ({ type, capabilities }) => bareType(type) === 'portmap' && capabilities.includes('portMappings'),
    );
    if (portmap === undefined && network.network !== undefined) return;
    for (const mapping of checkedMappings(request)) refuseHostPort(portmap?.config ?? {}, mapping, isListenedAt);
  };

  const claim = (wanted: Claim): AttachmentRecord => {
    try {
      return store.claim(wanted).record;
    } catch (thrown) {
      // The last free addresses may belong to links that are not gone yet.
      if (!isPortcullisError(thrown) || thrown.code !== 'NETWORK_ADDRESSES_EXHAUSTED' || departures.waiting() === 0) throw thrown;
      reap(true);
      return store.claim(wanted).record;
    }
  };

  const attach = (request: AttachRequest): Begun => {
    const standing = store.record(request.id);
    if (standing?.state === 'ready') return { record: standing };
    if (standing?.spec.chains !== undefined) return { stale: jobOf(standing, namespaceStands) };
    if (standing !== undefined) {
      release(standing);
      reap(true);
    }
    const [first, ...others] = networks.current().networks;
    if (first === undefined) throw new Error('a conf folder without a network was taken for one with');
    refuseHostPorts(request, first);
    for (const network of [first, ...others]) refuseClosed(request, network);
    for (const { network } of request.networks ?? []) refuseClosed(request, networks.named(network));
    const further = furtherLinks(
      request,
      (name) => networks.named(name),
      [first, ...others].map((_, index) => `eth${index}`),
    );
    if (!isCore(first)) return beginChains(request, [first, ...others], further);
    const record = attachOwn(request, first.network, [...chainLinks(others, 1, request, []), ...further]);
    return record.spec.chains === undefined ? { record } : { record, job: jobOf(record, namespaceStands) };
  };

  /** Records a pod whose interfaces all come from plugins. Only loopback is set up. */
  const beginChains = (request: AttachRequest, chosen: readonly LoadedNetwork[], further: readonly ChainLink[]): Begun => {
    const mappings = checkedMappings(request);
    const spec = chainSpec(request, [...chainLinks(chosen, 0, request, mappings), ...further], mappings);
    return withPodNamespace(request.netns, {}, ({ route }) => {
      const record = store.begin(request.id, spec);
      rules.expect(record);
      kernel.raiseLoopback(route);
      return { record, job: jobOf(record, namespaceStands) };
    });
  };

  const joined = (id: string, results: readonly CniResult[]): AttachmentRecord => {
    const record = store.record(id);
    if (record === undefined) throw unknownSandbox(id);
    const spec = specOfResults(id, record.spec, results, kernel);
    const made: AttachmentRecord = { ...record, spec };
    store.setSpec(id, spec);
    const links = madeByChains(spec);
    if (links.length > 0) rules.change(made, addLinks(made, links));
    // A link that our plugins created is in its group from the start. A third-party link was not denied until
    // now, but no process of the pod runs yet that could send.
    claimMade(spec);
    const held = new Set(links.map(({ hostInterface }) => hostInterface));
    for (const link of spec.chains ?? []) {
      const own = pluginInterfaceOf(link.network, id, link.interface);
      if (!held.has(own)) kernel.claim(own, 'plugin');
    }
    store.setState(id, 'ready');
    return { ...made, state: 'ready' };
  };

  const leave = (id: string): ChainJob | undefined => {
    const record = store.record(id);
    if (record?.spec.chains === undefined) {
      if (record !== undefined) release(record);
      return undefined;
    }
    // A link without elements is denied, until its plugins have removed it.
    if (record.state !== 'detaching') close(record);
    store.setState(id, 'detaching');
    store.forgetNames(id);
    return jobOf(record, namespaceStands);
  };

  const left = (id: string): void => {
    const record = store.record(id);
    if (record === undefined) return;
    if (isByChain(record.spec)) return store.remove(id);
    const { chains: _left, further: _gone, ...spec } = record.spec;
    store.setSpec(id, spec);
    release({ ...record, spec });
  };

  const close = (record: AttachmentRecord): void => {
    const links = heldLinks(record.spec);
    if (links.length === 0) return;
    let isDenied = false;
    try {
      isDenied = rules.forget(record);
    } finally {
      if (!isDenied) for (const { hostInterface } of links) kernel.isolate(hostInterface);
    }
  };

  /** Returns the links that the engine did not create itself. */
  const madeByChains = (spec: AttachmentRecord['spec']): readonly HeldLink[] => (isByChain(spec) ? heldLinks(spec) : (spec.further ?? []));
  const claimMade = (spec: AttachmentRecord['spec']): void => {
    for (const { hostInterface, bridge } of madeByChains(spec)) kernel.claim(hostInterface, bridge === undefined ? 'routed' : 'pod');
  };

  const attachOwn = (request: AttachRequest, network: NetworkConfig, chains: readonly ChainLink[]): AttachmentRecord => {
    const portMappings = mappingsFor(request, network);
    const mtu = network.bridge.mtu ?? kernel.defaultMtu();
    return withPodNamespace(request.netns, {}, (pod) => {
      const hostInterface = hostInterfaceOf(request.id);
      const record = claim({
        id: request.id,
        hostInterface,
        network,
        portMappings,
        memberships: membershipsOf(request, network),
        specOf: (choices) => {
          const spec = specOf(request, network, portMappings, choices, mtu);
          return chains.length === 0 ? spec : { ...spec, chains };
        },
      });
      try {
        // The rules have the link before it exists, so that it is denied by name from its first packet on.
        rules.change(record, addPod(record));
        make(record, pod);
        chained.add(record);
        if (record.spec.chains !== undefined) return record;
        store.setState(record.id, 'ready');
      } catch (thrown) {
        undo(record);
        throw thrown;
      }
      return { ...record, state: 'ready' };
    });
  };

  const lostLinks = createLostLinks({ store, kernel, make, log });

  const undo = (record: AttachmentRecord): void => {
    try {
      release(record);
      reap(true);
    } catch (thrown) {
      log.warn({ id: record.id, why: reasonOf(thrown) }, 'a failed attachment could not be removed at once; it is tried again');
    }
  };

  const setClass = (id: string, linkClass: LinkClass, asked: LinkRules): AttachmentRecord => {
    const record = store.record(id);
    if (record?.state !== 'ready') throw unknownSandbox(id);
    refuseUnheld(record, linkClass, asked);
    if (heldLinks(record.spec).length === 0) {
      store.setClass(id, linkClass, asked);
      return { ...record, class: linkClass, rules: asked };
    }
    const changed: AttachmentRecord = { ...record, class: linkClass, rules: asked };
    // Until the kernel accepts the change, it has the previous state. The next change, of any pod, must not
    // remove the peer rules that apply to this pod.
    const keepPeers = rules.policy.keep();
    const ofPeers = rules.ofPeers(changed);
    const orKept = (act: () => void): void => {
      try {
        act();
      } catch (thrown) {
        keepPeers();
        throw thrown;
      }
    };
    orKept(() => store.setClass(id, linkClass, asked));
    try {
      orKept(() => rules.change(changed, changeClass(record, linkClass), ofPeers));
    } catch (thrown) {
      // A change that was not applied must not be applied by the next start either. The next call tries
      // again.
      store.setClass(id, 'deny', {});
      throw thrown;
    }
    // Its host ports may have just begun to lead to the pod.
    if (changed.spec.portMappings.length > 0) departures.renewPorts(changed);
    return changed;
  };

  /** Refuses a class or rule that would apply to one interface of a pod and not to another. */
  const refuseUnheld = ({ id, spec }: AttachmentRecord, linkClass: LinkClass, asked: LinkRules): void => {
    if (!hasUnheldLink(spec) || linkClass === 'deny') return;
    if (linkClass === 'none') throw notHeld(id, spec.network, 'the class network.none');
    if (asked.egress !== undefined || asked.ingress !== undefined) throw notHeld(id, spec.network, 'rules of peers');
    if (rules.policy.isolates(policyPodOf(spec, asked))) throw notHeld(id, spec.network, 'NetworkPolicies');
    log.warn(
      { id, network: spec.network, class: linkClass },
      "the class of this pod's link is not enforced: its plugins made a link that our rules do not know",
    );
  };

  const denials = (): Denial[] => denialsOf(store.records(), rules.policy, kernel);

  const perform = (operation: Operation): void => {
    const record = 'id' in operation ? store.record(operation.id) : undefined;
    if (operation.do === 'delete-link' || operation.do === 'delete-bridge') kernel.deleteLink(operation.name);
    else if (record === undefined) return;
    else if (operation.do === 'release') release(record);
    else lostLinks.giveBack(operation);
  };

  /** Sets the alias on links that an older version created. */
  const markLinks = (): void => {
    const links = new Map(kernel.links().map((link) => [link.name, link]));
    for (const { spec, state } of store.records()) {
      const link = links.get(spec.hostInterface);
      if (state === 'ready' && !isByChain(spec) && link !== undefined && link.alias !== kernel.tag) kernel.mark(link.name);
    }
  };

  const repairLinks = (force: boolean): LinkRepairs => {
    const found = lostLinks.repair(force);
    if (found.restored.length === 0) return found;
    repairs += found.restored.length;
    for (const { spec, state } of store.records()) if (state === 'ready') claimMade(spec);
    return found;
  };

  const claimed = (): ReadonlySet<string> => new Set(store.records().flatMap(claimedLinks));

  return {
    refuseOthers() {
      const others = linksOfOthers(claimed(), { links: kernel.links(), tag: kernel.tag });
      if (others.length > 0) throw ofAnotherRoot(others);
    },
    reconcile() {
      rules.followPolicies();
      for (const { spec, state } of store.records()) if (state === 'ready') claimMade(spec);
      markLinks();
      const operations = planReconciliation(store.records(), { links: kernel.links(), tag: kernel.tag, namespaceStands });
      const releases = new Set(operations.flatMap((operation) => (operation.do === 'release' ? [operation.id] : [])));
      const isKept = store.records().some(({ id }) => !releases.has(id));
      // The rules come first, so that they apply to everything that is created or kept afterwards. If nothing
      // is kept, they are removed last, because they deny the remaining links.
      if (isKept) rules.rebuild();
      operations.forEach(perform);
      if (!isKept) rules.remove();
      repairs += operations.length;
      for (const record of store.records()) if (record.state === 'ready') departures.renewPorts(record);
      if (operations.length > 0) log.info({ operations }, 'the network was brought to its recorded state');
      reap(true);
    },
    attach,
    joined,
    leave,
    left,
    jobs(valid) {
      const made = store.records().filter(({ spec }) => spec.chains !== undefined);
      const jobsOf = (records: readonly AttachmentRecord[]): ChainJob[] => records.map((record) => jobOf(record, namespaceStands));
      return {
        unclaimed: jobsOf(made.filter(({ id }) => !valid.has(id))),
        claimed: jobsOf(made.filter(({ id }) => valid.has(id))),
      };
    },
    setClass,
    policies() {
      rules.lookAfter();
      rules.followPolicies();
    },
    repairs: () => repairs + rules.repairs(),
    linksLost: lostLinks.lost,
    denials,
    explain(question) {
      const records = store.records().filter(({ state }) => state === 'ready');
      return explainDenial(question, { records, policy: rules.policy, kernel, denials: denials() });
    },
    linkState(id) {
      const record = store.record(id);
      return record?.state === 'ready' && isHeld(record.spec) ? linkStateOf(record, kernel) : undefined;
    },
    gc(valid) {
      for (const record of store.records()) if (!valid.has(record.id) && record.spec.chains === undefined) release(record);
      for (const { name } of unclaimedLinks(claimed(), { links: kernel.links(), tag: kernel.tag })) kernel.deleteLink(name);
      reap(true);
      return repairLinks(true);
    },
    repairLinks,
    status() {
      rules.lookAfter();
      return statusOf(() => networks.current());
    },
    records: () => store.records().filter(({ state }) => state === 'ready'),
    finish: departures.finish,
    reap,
    removeAll() {
      reap(true);
      if (store.records().length > 0) return;
      rules.remove();
      for (const operation of unusedBridges(new Set(), { links: kernel.links(), tag: kernel.tag })) perform(operation);
    },
  };
}
