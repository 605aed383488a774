import { peersOf } from '../rules/grants.ts';
import type { Grant } from '../rules/grants.ts';
import type { PeerGroup } from '../rules/peer-group.ts';
import type { Direction, Layer, PodRules } from '../rules/pod-chains.ts';
import { createTierEvaluator, selectsTiers } from './evaluate-tiers.ts';
import { awaitedLabels, selecting } from './indexed-policies.ts';
import type { IndexedPolicies, PolicyPod } from './indexed-policies.ts';
import { blocksOf, isBlock, nobody, portsCalled, single } from './grant-parts.ts';
import { countBlocks, mostBlocksOfNamespace } from './block-limits.ts';
import { countGrants, mostGrants } from './grant-limits.ts';
import type { NetworkPolicy, PolicyRule } from './network-policy.ts';
import { groupDefinition } from './peer-index.ts';
import type { GroupDefinition } from './peer-index.ts';

export { indexPolicies, selecting } from './indexed-policies.ts';
export type { IndexedPolicies, PolicyPod } from './indexed-policies.ts';

/**
 * Computes what policies mean for the pods of a node, as Kubernetes documents it ("Network Policies", "The
 * two sorts of pod isolation"): a pod that a policy selects is isolated in the policy's directions; what any
 * of the policies grants is granted. Pure.
 */

/** Computes the rules of one pod. They depend on no other pod: peers that selectors choose are groups. */
export interface Evaluator {
  rulesOf(policies: IndexedPolicies, pod: PolicyPod, limits?: PodLimits): PodRules['policies'];
  /** @param pods on the node, which share a limit */
  tiersOf(policies: IndexedPolicies, pod: PolicyPod, pods: number): Pick<PodRules, 'admin' | 'baseline'>;
  /** Groups that were handed out may not exist any more. */
  forgetGroups(): void;
}

/** Limits of a pod in each direction. */
export interface PodLimits {
  readonly grants?: number | undefined;
  readonly blocks?: number | undefined;
  /** Why the policies grant nothing yet. */
  readonly awaited?: string | undefined;
}

/** @param groupFor returns the same group for the same key, until `forgetGroups` */
export function createEvaluator(groupFor: (definition: GroupDefinition) => PeerGroup): Evaluator {
  /** The same values for each pod that a rule applies to, so that one comparison and one copy serve all. */
  let shared = new WeakMap<PolicyRule, readonly Grant[]>();

  const grantsFor = (
    rule: PolicyRule,
    direction: Direction,
    pod: PolicyPod,
    policy: NetworkPolicy,
  ): readonly Grant[] => {
    // For ingress, a name refers to a port of the pod itself.
    if (direction === 'ingress' && rule.ports?.some(({ port }) => typeof port === 'string') === true)
      return ruleGrants(rule, direction, pod, policy, groupFor);
    const found = shared.get(rule) ?? ruleGrants(rule, direction, pod, policy, groupFor);
    shared.set(rule, found);
    return found;
  };

  const tiers = createTierEvaluator(groupFor);

  return {
    tiersOf: (policies, pod, pods) =>
      awaitedLabels(policies, pod) === undefined ? tiers.tiersOf(policies, pod, pods) : {},
    rulesOf(policies, pod, { grants: most = mostGrants, blocks = mostBlocksOfNamespace, awaited } = {}) {
      const labels = awaitedLabels(policies, pod);
      const isolated = policies.isolated ?? labels;
      const those = labels === undefined ? selecting(policies, pod) : [];
      const layer = (direction: Direction): Layer | undefined => {
        const holding = those.filter((policy) => policy[direction] !== undefined);
        if (holding.length === 0 && isolated === undefined) return undefined;
        const rules = holding.flatMap((policy) =>
          (policy[direction] ?? []).map((rule) => ({ rule, policy })),
        );
        const missing =
          countGrants(holding, direction) > most
            ? tooMuch(most)
            : countBlocks(holding, direction) > blocks
              ? tooManyBlocks(blocks)
              : awaited;
        const granted =
          missing !== undefined
            ? []
            : rules.flatMap(({ rule, policy }) => grantsFor(rule, direction, pod, policy));
        const excess = missing ?? excessOf(granted, most);
        const grants = excess === undefined ? granted : [];
        // "A Pod cannot block access to itself": for example through a port of the host.
        const self: Grant = { peers: peersOf(pod.addresses), name: 'itself' };
        const unreadable = [
          ...holding.flatMap((policy) => policy.unreadable ?? []),
          ...(excess === undefined ? [] : [excess]),
        ];
        return {
          grants: [...grants, self],
          denies: isolated ?? `NetworkPolicy ${holding.map(nameOf).join(', ')}`,
          ...(unreadable.length > 0 && { unreadable }),
        };
      };
      const [egress, ingress] = [layer('egress'), layer('ingress')];
      return { ...(egress !== undefined && { egress }), ...(ingress !== undefined && { ingress }) };
    },
    forgetGroups() {
      tiers.forgetGroups();
      shared = new WeakMap();
    },
  };
}

/** Returns the groups that a pod's rules need. */
export function groupsOf(policies: IndexedPolicies, pod: PolicyPod): readonly GroupDefinition[] {
  const found = new Map<string, GroupDefinition>();
  const { rulesOf, tiersOf } = createEvaluator((definition) => {
    found.set(definition.key, definition);
    const withPorts = definition.port !== undefined;
    return { key: definition.key, withPorts, members: nobody, isComplete: true };
  });
  rulesOf(policies, pod);
  tiersOf(policies, pod, 1);
  return [...found.values()];
}

/** Returns whether any policy says something about the pod's connections. */
export function isSelected(
  policies: IndexedPolicies,
  pod: Pick<PolicyPod, 'namespace' | 'labels' | 'labelsUnknown'>,
): boolean {
  return (
    policies.isolated !== undefined ||
    awaitedLabels(policies, pod) !== undefined ||
    selectsTiers(policies, pod) ||
    selecting(policies, pod).some(({ egress, ingress }) => egress !== undefined || ingress !== undefined)
  );
}

const nameOf = ({ namespace = '*', name, unreadable }: NetworkPolicy): string =>
  `${namespace}/${name}${unreadable === undefined ? '' : ' (cannot be understood)'}`;

/** Limit of address ranges in all grants of one pod and direction. */
export const mostBlocks = 65_536;
const tooMuch = (most: number): string =>
  `the NetworkPolicies that select the pod have more than ${most} rules and ports in this direction`;

const tooManyBlocks = (most: number): string =>
  `the NetworkPolicies that select the pod name more than ${most} blocks of addresses`;

function excessOf(grants: readonly Grant[], most: number): string | undefined {
  if (grants.length > most) return tooMuch(most);
  // Rules with several ports share their peers.
  const blocks = new Set(grants.flatMap(({ peers }) => peers ?? []));
  let sum = 0;
  for (const { four, six } of blocks) sum += four.length + six.length;
  return sum > mostBlocks ? tooManyBlocks(mostBlocks) : undefined;
}

function ruleGrants(
  rule: PolicyRule,
  direction: Direction,
  pod: PolicyPod,
  policy: NetworkPolicy,
  groupFor: (definition: GroupDefinition) => PeerGroup,
): Grant[] {
  const { peers, ports } = rule;
  const name = nameOf(policy);
  const to = peersFor(rule, policy, groupFor);
  if (ports === undefined) return [{ ...to, name }];
  return ports.flatMap(({ protocol, port }): Grant[] => {
    if (port === undefined) return [{ ...to, protocol, name }];
    if (typeof port !== 'string') return [{ ...to, protocol, ports: [port], name }];
    // The names are those of the responder: the pod itself for ingress, each peer for egress.
    if (direction === 'ingress')
      return portsCalled(pod, protocol, port).map((number) => ({
        ...to,
        protocol,
        ports: [single(number)],
        name,
      }));
    const group = groupFor(groupDefinition(policy.namespace, peers, { protocol, name: port }));
    return [{ group, protocol, name }];
  });
}

function peersFor(
  rule: PolicyRule,
  { namespace }: NetworkPolicy,
  groupFor: (definition: GroupDefinition) => PeerGroup,
): Pick<Grant, 'peers' | 'group'> {
  const { peers } = rule;
  if (peers === undefined) return {};
  const [written, chosen] = [peers.filter(isBlock), peers.filter((peer) => !isBlock(peer))];
  return {
    ...(written.length > 0 && { peers: blocksOf(rule, written) }),
    ...(chosen.length > 0 && { group: groupFor(groupDefinition(namespace, chosen)) }),
  };
}
