import { PortcullisError } from '../../../base/errors/index.ts';
import type { PluginAttachment } from '../../database/plugin-attachments.ts';
import { createPolicedPodStore } from '../../database/policed-pods.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { AttachmentRecord } from '../../database/record.ts';
import { heldLinkOf } from '../../links/enforced-links.ts';
import type { HostKernel } from '../../links/host-kernel.ts';
import { addPod } from '../../links/rules/ruleset.ts';
import { podOfOtherRuntime } from '../../plugin-engine/pod-policies.ts';
import type { PodPolicies } from '../../plugin-engine/pod-policies.ts';
import type { RulesInForce } from './rules-in-force.ts';

/**
 * Pods that other runtimes attach through our plugins, on a node that follows the NetworkPolicies of its
 * cluster. Their links have the same rules as those of our own runtime's pods, with the class `network.user`
 * and no rules of a profile.
 */
export interface PolicedPods extends PodPolicies {
  /** Returns the records whose elements and rules the tables contain. */
  records(): readonly AttachmentRecord[];
  /** Connects the rules, which need the records of these pods themselves. Call it once, before all others. */
  applyBy(rules: Pick<RulesInForce, 'change' | 'expect' | 'forget' | 'ofPeers' | 'policy'>): void;
}

export interface PolicedPodsDeps {
  readonly database: NetworkDatabase;
  /** The host network namespace of the daemon: no rules apply in others. */
  readonly namespaceId: string;
  /** Whether the daemon follows the policies of a cluster. */
  readonly areFollowed: boolean;
  readonly kernel: Pick<HostKernel, 'addressesOf' | 'link' | 'linkAt' | 'routeOf'>;
}

export function createPolicedPods({
  database,
  namespaceId,
  areFollowed,
  kernel,
}: PolicedPodsDeps): PolicedPods {
  const store = createPolicedPodStore(database);
  let rules: Parameters<PolicedPods['applyBy']>[0] | undefined;
  const inForce = (): NonNullable<typeof rules> => {
    if (rules === undefined) throw new Error('the rules are not connected yet');
    return rules;
  };

  const settle = (part: PluginAttachment): void => {
    const record = store.record(part);
    if (record === undefined) return;
    const { network, interface: name } = part.key;
    const link = heldLinkOf({ network, interface: name, result: part.result }, kernel);
    if (link === undefined) throw notHeld(record);
    const { mtu: _mtu, ...held } = link;
    store.settle(part, held);
  };

  const open = (part: PluginAttachment): void => {
    const record = store.record(part);
    if (record === undefined) return;
    const { policy, change, ofPeers } = inForce();
    const keepPeers = policy.keep();
    try {
      change(record, addPod(record), ofPeers(record));
    } catch (thrown) {
      keepPeers();
      throw thrown;
    }
  };

  return {
    records: () => store.records(namespaceId),
    applyBy(given) {
      rules = given;
    },
    podOf: (call, host) =>
      areFollowed && host.namespaceId === namespaceId ? podOfOtherRuntime(call, store.isOwnPod) : undefined,
    begin: store.begin,
    expect(part) {
      const record = store.record(part);
      if (record !== undefined) inForce().expect(record);
    },
    settle,
    open,
    reopen(part) {
      // Without a link in its record, the process that created the link was killed before it was open.
      if (store.record(part)?.state !== 'attaching') return;
      database.transaction(() => settle(part));
      open(part);
    },
    close(part) {
      const record = store.record(part);
      if (record === undefined) return;
      inForce().forget(record);
      store.forget(part);
    },
  };
}

function notHeld({ spec }: AttachmentRecord): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_RULES_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'apply NetworkPolicies to the pod',
    on: `${spec.pod.namespace}/${spec.pod.name}`,
    why: `the link that the network ${spec.network} created for it has no end on the host that the rules can be applied to`,
    fix: 'use a network of the plugin bridge or ptp whose pods have addresses',
  });
}
