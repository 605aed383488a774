import { highestPort, peersOf } from '../rules/grants.ts';
import type { Grant, Peers } from '../rules/grants.ts';
import type { NamedPort } from '../../types.ts';
import { meet, union } from '../rules/intervals.ts';
import type { Direction, Layer, PodRules } from '../rules/pod-chains.ts';
import type {
  Labels,
  NetworkPolicy,
  Peer,
  PolicyPort,
  PolicyRule,
  PolicySet,
  Selector,
} from './network-policy.ts';
import { selects } from './network-policy.ts';

/**
 * Computes what policies mean for the pods of a node, as Kubernetes documents it ("Network Policies", "The
 * two sorts of pod isolation"): a pod that a policy selects is isolated in the policy's directions; what any
 * of the policies grants is granted. Pure.
 */

export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
}

/** Returns the rules of every pod, in the order of `pods`. */
export function evaluate(
  { policies, namespaces, isolated }: PolicySet,
  pods: readonly PolicyPod[],
): PodRules['policies'][] {
  const byNamespace = Map.groupBy(policies, ({ namespace }) => namespace);
  const everywhere = byNamespace.get(undefined) ?? [];
  // Every namespace has this label of Kubernetes, also a namespace that no file describes.
  const isSelected = (selector: Selector, namespace: string): boolean => {
    const labels = namespaces.get(namespace);
    // When labels are not known, none of them may be treated as absent.
    if (labels === 'unknown')
      return selector.every((one) => one.key === nameLabel && selects([one], { [nameLabel]: namespace }));
    return selects(selector, { ...labels, [nameLabel]: namespace });
  };
  const chosen = (peer: SelectingPeer, namespace: string | undefined): readonly PolicyPod[] =>
    pods.filter(
      (pod) =>
        (peer.namespaces === undefined
          ? pod.namespace === namespace
          : isSelected(peer.namespaces, pod.namespace)) &&
        (peer.pods === undefined || selects(peer.pods, pod.labels)),
    );
  const known = new Map<PolicyRule, Peers>();
  /** The same object for each pod that a rule applies to. */
  const peersFor = (rule: PolicyRule, namespace: string | undefined): Peers | undefined => {
    const { peers } = rule;
    if (peers === undefined) return undefined;
    const found =
      known.get(rule) ??
      (peers.every((peer) => 'cidr' in peer)
        ? blocksOf(rule, peers)
        : join(
            peers.map((peer) =>
              'cidr' in peer ? peersOf([peer.cidr], peer.except) : addressesOf(chosen(peer, namespace)),
            ),
          ));
    known.set(rule, found);
    return found;
  };
  const called = new Map<string, ReadonlyMap<number, readonly PolicyPod[]>>();
  /** Pods whose container port has this name, by the port's number. */
  const podsCalling = (
    protocol: PolicyPort['protocol'],
    port: string,
  ): ReadonlyMap<number, readonly PolicyPod[]> => {
    const key = `${protocol} ${port}`;
    const found = called.get(key) ?? podsByPort(pods, protocol, port);
    called.set(key, found);
    return found;
  };
  const shared = new Map<PolicyRule, readonly Grant[]>();
  const grantsFor = (
    rule: PolicyRule,
    direction: Direction,
    pod: PolicyPod,
    policy: NetworkPolicy,
  ): readonly Grant[] => {
    const context = { peers: peersFor(rule, policy.namespace), podsCalling };
    // For ingress, a name refers to a port of the pod itself.
    if (direction === 'ingress' && rule.ports?.some(({ port }) => typeof port === 'string') === true)
      return ruleGrants(rule, direction, pod, nameOf(policy), context);
    const kept = hangsOnPods(rule) ? shared : existing;
    const found = kept.get(rule) ?? ruleGrants(rule, direction, pod, nameOf(policy), context);
    kept.set(rule, found);
    return found;
  };
  const neighbours = Map.groupBy(pods, ({ namespace }) => namespace);
  return pods.map((pod) => {
    const most = mostGrantsOf(neighbours.get(pod.namespace)?.length ?? 1);
    const selecting = [...(byNamespace.get(pod.namespace) ?? []), ...everywhere].filter(({ podSelector }) =>
      selects(podSelector, pod.labels),
    );
    const layer = (direction: Direction): Layer | undefined => {
      const holding = selecting.filter((policy) => policy[direction] !== undefined);
      if (holding.length === 0 && isolated === undefined) return undefined;
      const rules = holding.flatMap((policy) => (policy[direction] ?? []).map((rule) => ({ rule, policy })));
      const isTooMuch = rules.reduce((sum, { rule }) => sum + (rule.ports?.length ?? 1), 0) > most;
      const granted = isTooMuch
        ? []
        : rules.flatMap(({ rule, policy }) => grantsFor(rule, direction, pod, policy));
      const excess = isTooMuch ? tooMuch(most) : excessOf(granted, most);
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
  });
}

const nameLabel = 'kubernetes.io/metadata.name';

const nameOf = ({ namespace = '*', name, unreadable }: NetworkPolicy): string =>
  `${namespace}/${name}${unreadable === undefined ? '' : ' (cannot be understood)'}`;

type SelectingPeer = Exclude<Peer, { readonly cidr: string }>;

/**
 * Limit of grants of one pod in one direction. Each grant is at least one nf_tables rule for this pod alone,
 * and any user who writes NetworkPolicies in one namespace may be their author: without a limit, one object
 * of the size that the API accepts fills the node's memory.
 */
export const mostGrants = 4096;
/**
 * Limit for all pods of a namespace on the node together: enough for 110 pods that 2,000 policies of one rule
 * select each.
 */
const mostGrantsOfNamespace = 262_144;
const mostGrantsOf = (pods: number): number => Math.min(mostGrants, Math.floor(mostGrantsOfNamespace / pods));
/** Limit of address ranges in all grants of one pod and direction. */
export const mostBlocks = 65_536;
const tooMuch = (most: number): string =>
  `the NetworkPolicies that select the pod have more than ${most} rules and ports in this direction`;

function excessOf(grants: readonly Grant[], most: number): string | undefined {
  if (grants.length > most) return tooMuch(most);
  // Rules with several ports share their peers.
  const blocks = new Set(grants.flatMap(({ peers }) => peers ?? []));
  let sum = 0;
  for (const { four, six } of blocks) sum += four.length + six.length;
  return sum > mostBlocks
    ? `the NetworkPolicies that select the pod name more than ${mostBlocks} blocks of addresses`
    : undefined;
}

/** Returns whether a rule's grants change with the pods of the node: by selectors, and by names of ports. */
const hangsOnPods = ({ peers = [], ports = [] }: PolicyRule): boolean =>
  peers.some((peer) => !('cidr' in peer)) || ports.some(({ port }) => typeof port === 'string');

/**
 * Grants of rules that depend on no pod. The same values are returned as long as the policy exists, so that
 * one comparison and one copy serve all pods.
 */
const existing = new WeakMap<PolicyRule, readonly Grant[]>();
const blocks = new WeakMap<PolicyRule, Peers>();

function blocksOf(rule: PolicyRule, peers: readonly Exclude<Peer, SelectingPeer>[]): Peers {
  const found = blocks.get(rule) ?? join(peers.map(({ cidr, except }) => peersOf([cidr], except)));
  blocks.set(rule, found);
  return found;
}

interface RuleContext {
  /** Undefined: every peer. */
  readonly peers: Peers | undefined;
  podsCalling(protocol: PolicyPort['protocol'], port: string): ReadonlyMap<number, readonly PolicyPod[]>;
}

function ruleGrants(
  { ports }: PolicyRule,
  direction: Direction,
  pod: PolicyPod,
  name: string,
  { peers, podsCalling }: RuleContext,
): Grant[] {
  const to = peers === undefined ? {} : { peers };
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
    return [...podsCalling(protocol, port)].map(([number, those]) => ({
      peers: peers === undefined ? addressesOf(those) : within(addressesOf(those), peers),
      protocol,
      ports: [single(number)],
      name,
    }));
  });
}

function podsByPort(
  pods: readonly PolicyPod[],
  protocol: PolicyPort['protocol'],
  name: string,
): ReadonlyMap<number, readonly PolicyPod[]> {
  const named = new Map<number, PolicyPod[]>();
  for (const pod of pods)
    for (const number of portsCalled(pod, protocol, name)) {
      const those = named.get(number) ?? [];
      those.push(pod);
      named.set(number, those);
    }
  return named;
}

const single = (port: number): { low: number; high: number } => ({ low: port, high: port });

function portsCalled({ namedPorts }: PolicyPod, protocol: PolicyPort['protocol'], name: string): number[] {
  const found = namedPorts.filter(
    (port) => port.name === name && port.protocol === protocol && port.port <= highestPort,
  );
  return [...new Set(found.map(({ port }) => port))];
}

const addressesOf = (pods: readonly PolicyPod[]): Peers =>
  peersOf(pods.flatMap(({ addresses }) => addresses));

const join = (peers: readonly Peers[]): Peers => ({
  four: union(peers.flatMap(({ four }) => four)),
  six: union(peers.flatMap(({ six }) => six)),
});

/** Returns the single addresses that are in the other peers. */
const within = (some: Peers, all: Peers): Peers => ({
  four: meet(some.four, all.four),
  six: meet(some.six, all.six),
});
