import type { Grant } from '../rules/grants.ts';
import type { PeerGroup } from '../rules/peer-group.ts';
import type { Direction, PodRules, Tier, TierStep } from '../rules/pod-chains.ts';
import { selectsPod } from './cluster-network-policy.ts';
import type { ClusterNetworkPolicy, ClusterRule } from './cluster-network-policy.ts';
import type { IndexedPolicies, PolicyPod } from './indexed-policies.ts';
import { blocksOf, isBlock, portsCalled, single } from './grant-parts.ts';
import { clusterGroup, dependsOnLabels } from './peer-index.ts';
import type { GroupDefinition } from './peer-index.ts';

/**
 * Computes what ClusterNetworkPolicies mean for one pod: for each tier, its rules in the order in which they
 * are tried. Whatever is not known yet fails closed: what would deny or pass denies. Pure.
 */
export interface TierEvaluator {
  /** @param pods on the node, which share a limit */
  tiersOf(policies: IndexedPolicies, pod: PolicyPod, pods: number): Pick<PodRules, 'admin' | 'baseline'>;
  forgetGroups(): void;
}

const directions = ['egress', 'ingress'] as const;
const protocols = ['tcp', 'udp', 'sctp'] as const;

/** Limits of rules and ports of one pod in one tier and direction, and of all pods of the node together. */
const [mostSteps, mostStepsOfNode] = [4096, 262_144];
/** @param pods on the node */
export const mostStepsOf = (pods: number): number =>
  Math.min(mostSteps, Math.floor(mostStepsOfNode / Math.max(1, pods)));
/** Limit of address ranges in all steps of one pod, tier and direction. */
const mostBlocks = 65_536;

/** @param groupFor returns the same group for the same key, until `forgetGroups` */
export function createTierEvaluator(groupFor: (definition: GroupDefinition) => PeerGroup): TierEvaluator {
  /**
   * The steps of each rule. All pods to which the rule applies share them. They are computed again when a
   * group of the rule becomes complete or incomplete.
   */
  let shared = new WeakMap<
    ClusterRule,
    { readonly complete: boolean; readonly steps: readonly TierStep[] }
  >();

  const stepsOf = (
    rule: ClusterRule,
    direction: Direction,
    pod: PolicyPod,
    policy: ClusterNetworkPolicy,
  ): readonly TierStep[] => {
    const groups: PeerGroup[] = [];
    const collected = (definition: GroupDefinition): PeerGroup => {
      const group = groupFor(definition);
      groups.push(group);
      return group;
    };
    const grants = grantsOf(rule, direction, pod, collected);
    const guards = rule.action === 'pass' ? guardsOf(rule, direction, pod, collected) : [];
    const complete = groups.every(({ isComplete }) => isComplete);
    const isShared = direction === 'egress' || rule.ports?.some((port) => 'named' in port) !== true;
    const found = isShared ? shared.get(rule) : undefined;
    if (found?.complete === complete) return found.steps;
    const name = `ClusterNetworkPolicy ${policy.name}: ${rule.name}`;
    const steps =
      complete || rule.action === 'accept'
        ? [
            ...grants.map((grant): TierStep => ({ ...grant, name, action: rule.action })),
            ...guards.map((grant): TierStep => ({
              ...grant,
              name: `${name} (${unknownPeer})`,
              action: 'deny',
            })),
          ]
        : [{ name: `${name} (its peers are not known)`, action: 'deny' as const, awaits: groups }];
    if (isShared) shared.set(rule, { complete, steps });
    return steps;
  };

  const tierOf = (
    policies: readonly ClusterNetworkPolicy[],
    direction: Direction,
    pod: PolicyPod,
    labels: ReturnType<IndexedPolicies['labelsOf']>,
    most: number,
  ): Tier | undefined => {
    const selecting = policies.flatMap((policy) => {
      const selected = policy[direction].length > 0 && selectsPod(policy.subject, pod, labels);
      return selected === false ? [] : [{ policy, selected }];
    });
    if (selecting.length === 0) return undefined;
    const unreadable = selecting.flatMap(({ policy }) => policy.unreadable ?? []);
    const size = selecting.reduce(
      (sum, { policy }) => sum + policy[direction].reduce((all, { ports }) => all + (ports?.length ?? 1), 0),
      0,
    );
    const steps =
      size > most
        ? undefined
        : selecting.flatMap(({ policy, selected }) =>
            policy[direction].flatMap((rule) => {
              const found = stepsOf(rule, direction, pod, policy);
              if (selected === true) return found;
              // Whether the policy selects the pod is not known: nothing is accepted by it, or passed on.
              return rule.action === 'accept' ? [] : found.map(denying);
            }),
          );
    const excess = steps === undefined || steps.length > most ? tooMuch(most) : excessOf(steps);
    if (excess === undefined && steps !== undefined)
      return { steps, ...(unreadable.length > 0 && { unreadable }) };
    const denied = excess ?? tooMuch(most);
    return { steps: [{ name: denied, action: 'deny' }], unreadable: [...unreadable, denied] };
  };

  return {
    tiersOf({ tiers, labelsOf }, pod, pods) {
      if (tiers === undefined) return {};
      const labels = labelsOf(pod.namespace);
      const most = mostStepsOf(pods);
      const both = (policies: readonly ClusterNetworkPolicy[]): PodRules['admin'] => {
        const found = directions.flatMap((direction) => {
          const tier = tierOf(policies, direction, pod, labels, most);
          return tier === undefined ? [] : [[direction, tier] as const];
        });
        return found.length === 0 ? undefined : Object.fromEntries(found);
      };
      const [admin, baseline] = [both(tiers.admin), both(tiers.baseline)];
      return { ...(admin !== undefined && { admin }), ...(baseline !== undefined && { baseline }) };
    },
    forgetGroups() {
      shared = new WeakMap();
    },
  };
}

/** Returns whether a ClusterNetworkPolicy may say something about the pod's connections. */
export function selectsTiers(
  { tiers, labelsOf }: IndexedPolicies,
  pod: Pick<PolicyPod, 'namespace' | 'labels'>,
): boolean {
  if (tiers === undefined) return false;
  return [...tiers.admin, ...tiers.baseline].some(
    ({ subject, egress, ingress }) =>
      egress.length + ingress.length > 0 && selectsPod(subject, pod, labelsOf(pod.namespace)) !== false,
  );
}

const unknownPeer = 'a namespace of its peers is not known';

/**
 * Returns the matches that are added after a rule that passes. They deny pods that the rule may be about,
 * because their namespace is not known yet. Otherwise a later rule would accept connections that the next
 * tier may deny.
 */
function guardsOf(
  rule: ClusterRule,
  direction: Direction,
  pod: PolicyPod,
  groupFor: (definition: GroupDefinition) => PeerGroup,
): readonly Match[] {
  const peers = rule.peers?.filter((peer) => !isBlock(peer) && dependsOnLabels(peer)) ?? [];
  return peers.length === 0 ? [] : grantsOf({ ...rule, peers, action: 'deny' }, direction, pod, groupFor);
}

const denying = (step: TierStep): TierStep => ({ ...step, action: 'deny' });

const tooMuch = (most: number): string =>
  `the ClusterNetworkPolicies that select the pod have more than ${most} rules and ports in one direction and tier: everything is denied`;

function excessOf(steps: readonly TierStep[]): string | undefined {
  const blocks = new Set(steps.flatMap(({ peers }) => peers ?? []));
  let sum = 0;
  for (const { four, six } of blocks) sum += four.length + six.length;
  return sum > mostBlocks
    ? `the ClusterNetworkPolicies that select the pod name more than ${mostBlocks} blocks of addresses in one direction and tier: everything is denied`
    : undefined;
}

type Match = Omit<Grant, 'name'>;

function grantsOf(
  rule: ClusterRule,
  direction: Direction,
  pod: PolicyPod,
  groupFor: (definition: GroupDefinition) => PeerGroup,
): readonly Match[] {
  const { peers, ports } = rule;
  const [written, chosen] = [peers?.filter(isBlock) ?? [], peers?.filter((peer) => !isBlock(peer)) ?? []];
  const use = rule.action === 'deny' ? 'denied' : undefined;
  const to = (): Match => ({
    ...(written.length > 0 && { peers: blocksOf(rule, written) }),
    ...(chosen.length > 0 && { group: groupFor(clusterGroup(chosen, undefined, use)) }),
  });
  if (ports === undefined) return [to()];
  return ports.flatMap((port): readonly Match[] => {
    if (!('named' in port))
      return [{ ...to(), protocol: port.protocol, ...(port.port !== undefined && { ports: [port.port] }) }];
    return protocols.flatMap((protocol): readonly Match[] => {
      // The names are those of the responder: the pod itself for ingress, each peer for egress.
      if (direction === 'ingress')
        return portsCalled(pod, protocol, port.named).map((number) => ({
          ...to(),
          protocol,
          ports: [single(number)],
        }));
      return [{ group: groupFor(clusterGroup(peers, { protocol, name: port.named }, use)), protocol }];
    });
  });
}
