import type { Logger } from '../../../base/log/index.ts';
import { linksOfOthers, planReconciliation, unclaimedLinks, unusedBridges } from '../reconcile/plan.ts';
import type { Operation } from '../reconcile/plan.ts';
import type { PolicyFollower } from '../../policy/index.ts';
import { denialsOf, explainDenial, linkStateOf } from '../../policy/index.ts';
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
} from '../../types.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { createAttacher } from './attacher.ts';
import type { Begun } from './attacher.ts';
import { createChainSteps } from './chain-steps.ts';
import type { ChainSteps } from './chain-steps.ts';
import { createClassChange } from './link-class.ts';
import { createChainedPlugins } from './chained-plugins.ts';
import { createTeardown } from './teardown.ts';
import { createDamagedRecords } from './damaged-records.ts';
import { createLostLinks } from './lost-links.ts';
import { ofAnotherRoot } from '../../namespaces/namespace-claim.ts';
import { namespaceStands } from '../../namespaces/netns.ts';
import { statusOf } from './network-status.ts';
import type { NetworkFolder } from '../../networks/networks.ts';
import type { PluginCore } from '../../plugin-engine/plugin-engine.ts';
import { claimedLinks, isByChain, isHeld } from '../../database/record.ts';
import type { DamagedAttachment } from '../../database/damaged-attachments.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import type { PolicedPods } from './policed-pods.ts';
import { createRulesInForce } from './rules-in-force.ts';
import type { NetworkStore } from '../../database/store.ts';

/**
 * The engine's operations, synchronous, one at a time: first the intent in the store, then the kernel, then
 * the record.
 */
export interface NetworkCore extends Pick<ChainSteps, 'joined' | 'leave' | 'left' | 'jobs'> {
  /** Changes nothing. @throws NETWORK_LINKS_OF_ANOTHER_ROOT if there are pod links of another root */
  refuseOthers(): void;
  /** Brings the kernel to the recorded state. */
  reconcile(): void;
  /**
   * Attaches a pod. If plugins attach it, a job is returned, and the pod is only recorded until `joined`.
   * Resources that an earlier attempt of the plugins left are returned as `stale`.
   */
  attach(request: AttachRequest): Begun;
  setClass(id: string, linkClass: LinkClass, rules: LinkRules): AttachmentRecord;
  denials(): readonly Denial[];
  /** Returns how often a difference from the record was found and repaired. */
  repairs(): number;
  /** Returns how many links were still lost after the last check. */
  linksLost(): number;
  linkState(id: string): LinkState | undefined;
  explain(question: DenialQuestion): DenialExplanation;
  /** Restores rules that were removed (`nft flush ruleset`). */
  lookAfter(): void;
  /**
   * Checks whether the NetworkPolicies changed, and updates the kernel. Returns whether the kernel has all
   * changes now: a change of many rules takes several calls.
   */
  followPolicies(): boolean;
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
  /** Returns the attachments whose records were damaged. */
  damaged(): readonly DamagedAttachment[];
  /**
   * Does the work of the last call that no caller waits for. Must run before the next call, under the same
   * lock.
   */
  finish(): void;
  /**
   * Frees what the kernel has released. `force` makes the kernel release it now. Returns how many attachments
   * are still held.
   * @param agedMs what was detached less than this time ago is not forced
   */
  reap(force: boolean, agedMs?: number): number;
  /** Removes bridges and tables if nothing is attached. */
  removeAll(): void;
}

export interface CoreDeps {
  /** Follows the NetworkPolicies. */
  readonly policies: PolicyFollower;
  readonly store: NetworkStore;
  readonly kernel: HostKernel;
  /** Pods of other runtimes, whose links have rules too. */
  readonly policed: Pick<PolicedPods, 'applyBy' | 'records'>;
  /** For the plugins of a conflist that follow the bridge. */
  readonly plugins: Pick<PluginCore, 'call'>;
  readonly networks: NetworkFolder;
  readonly log: Pick<Logger, 'info' | 'warn'>;
}

export function createNetworkCore({
  store,
  kernel,
  plugins,
  networks,
  log,
  policies,
  policed,
}: CoreDeps): NetworkCore {
  /** Records of all pods whose links have rules. */
  const ruled = (): readonly AttachmentRecord[] => [...store.records(), ...policed.records()];
  const rules = createRulesInForce({ store: { records: ruled }, kernel, policies, log });
  policed.applyBy(rules);
  const teardown = createTeardown({ store, kernel, rules });
  const chained = createChainedPlugins(plugins, log);
  const { reap } = teardown;
  const shared = { store, kernel, rules, teardown, log };
  const damaged = createDamagedRecords(shared);
  const { attach, make, release } = createAttacher({ ...shared, networks, chained });
  const { joined, leave, left, jobs, claimMade } = createChainSteps({ ...shared, release, damaged });
  const setClass = createClassChange(shared);
  let repairs = 0;

  const lostLinks = createLostLinks({ store, kernel, make, log });

  const denials = (): Denial[] => denialsOf(ruled(), rules.policy, kernel);

  const perform = (operation: Operation): void => {
    const record = 'id' in operation ? store.record(operation.id) : undefined;
    if (operation.do === 'delete-link' || operation.do === 'delete-bridge') kernel.deleteLink(operation.name);
    else if (record === undefined) return;
    else if (operation.do === 'release') release(record);
    else lostLinks.giveBack(operation);
  };

  const repairLinks = (force: boolean): LinkRepairs => {
    const found = lostLinks.repair(force);
    if (found.restored.length === 0) return found;
    repairs += found.restored.length;
    for (const { spec, state } of store.records()) if (state === 'ready') claimMade(spec);
    return found;
  };

  const claimed = (): ReadonlySet<string> => new Set(ruled().flatMap(claimedLinks));

  return {
    refuseOthers() {
      const others = linksOfOthers(claimed(), { links: kernel.links(), tag: kernel.tag });
      if (others.length > 0) throw ofAnotherRoot(others);
    },
    reconcile() {
      rules.followPolicies();
      for (const { spec, state } of store.records()) if (state === 'ready') claimMade(spec);
      markLinks(store, kernel);
      const { operations, isKept: isOwnKept } = reconciliationOf(store, kernel);
      const isKept = isOwnKept || policed.records().length > 0;
      // The rules come first, so that they apply to everything that is created or kept afterwards. If nothing
      // is kept, they are removed last, because they deny the remaining links.
      if (isKept) rules.rebuild();
      operations.forEach(perform);
      if (!isKept) rules.remove();
      repairs += operations.length;
      for (const record of store.records()) if (record.state === 'ready') teardown.renewPorts(record);
      if (operations.length > 0) log.info({ operations }, 'the network was brought to its recorded state');
      damaged.discardUnreported();
      reap(true);
    },
    attach,
    joined,
    leave,
    left,
    jobs,
    setClass,
    lookAfter: rules.lookAfter,
    followPolicies: rules.followPolicies,
    repairs: () => repairs + rules.repairs(),
    linksLost: lostLinks.lost,
    denials,
    explain(question) {
      const records = ruled().filter(({ state }) => state === 'ready');
      return explainDenial(question, { records, policy: rules.policy, kernel, denials: denials() });
    },
    linkState(id) {
      const record = store.record(id);
      return record?.state === 'ready' && isHeld(record.spec) ? linkStateOf(record, kernel) : undefined;
    },
    gc(valid) {
      for (const record of store.records())
        if (!valid.has(record.id) && record.spec.chains === undefined) release(record);
      damaged.discard(({ id }) => !valid.has(id));
      for (const { name } of unclaimedLinks(claimed(), { links: kernel.links(), tag: kernel.tag }))
        kernel.deleteLink(name);
      reap(true);
      return repairLinks(true);
    },
    repairLinks,
    status() {
      rules.lookAfter();
      return statusOf(() => networks.current());
    },
    records: () => store.records().filter(({ state }) => state === 'ready'),
    damaged: store.damaged,
    finish: teardown.finish,
    reap,
    removeAll() {
      reap(true);
      if (ruled().length > 0) return;
      rules.remove();
      for (const operation of unusedBridges(new Set(), { links: kernel.links(), tag: kernel.tag }))
        perform(operation);
    },
  };
}

/** Plans the reconciliation, and returns whether any attachment remains after it. */
function reconciliationOf(
  store: NetworkStore,
  kernel: HostKernel,
): { readonly operations: readonly Operation[]; readonly isKept: boolean } {
  const operations = planReconciliation(store.records(), {
    links: kernel.links(),
    tag: kernel.tag,
    namespaceStands,
  });
  const releases = new Set(
    operations.flatMap((operation) => (operation.do === 'release' ? [operation.id] : [])),
  );
  const isKept = store.records().some(({ id }) => !releases.has(id));
  return { operations, isKept };
}

/** Sets the alias on links that an older version created. */
function markLinks(
  store: Pick<NetworkStore, 'records'>,
  kernel: Pick<HostKernel, 'links' | 'mark' | 'tag'>,
): void {
  const links = new Map(kernel.links().map((link) => [link.name, link]));
  for (const { spec, state } of store.records()) {
    const link = links.get(spec.hostInterface);
    if (state === 'ready' && !isByChain(spec) && link !== undefined && link.alias !== kernel.tag)
      kernel.mark(link.name);
  }
}
