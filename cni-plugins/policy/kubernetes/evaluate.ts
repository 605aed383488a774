import { highestPort, peersOf } from '../grants.ts';
import type { Grant, Peers } from '../grants.ts';
import type { NamedPort } from '../../types.ts';
import { union } from '../intervals.ts';
import type { Direction, Layer, PodRules } from '../pod-chains.ts';
import type { Labels, NetworkPolicy, Peer, PolicyPort, PolicyRule, PolicySet, Selector } from './network-policy.ts';
import { selects } from './network-policy.ts';

/**
 * What policies mean for the pods of a node, as Kubernetes' documentation says it ("Network Policies", "The two sorts of pod
 * isolation"): a pod that a policy selects is isolated in the policy's directions; what any of them grants is granted. Pure.
 */

export interface PolicyPod {
  readonly namespace: string;
  readonly labels: Labels;
  readonly addresses: readonly string[];
  readonly namedPorts: readonly NamedPort[];
}

/** The rules of every pod, in the order of `pods`. */
export function evaluate({ policies, namespaces, isolated }: PolicySet, pods: readonly PolicyPod[]): PodRules['policies'][] {
  const byNamespace = Map.groupBy(policies, ({ namespace }) => namespace);
  const everywhere = byNamespace.get(undefined) ?? [];
  // Every namespace has this label of Kubernetes' own, also one that no file speaks of.
  const isSelected = (selector: Selector, namespace: string): boolean => {
    const labels = namespaces.get(namespace);
    // Of labels that are not known, none may be taken for absent.
    if (labels === 'unknown') return selector.every((one) => one.key === nameLabel && selects([one], { [nameLabel]: namespace }));
    return selects(selector, { ...labels, [nameLabel]: namespace });
  };
  const known = new Map<Peer, readonly PolicyPod[]>();
  const chosen = (peer: Peer, namespace: string | undefined): readonly PolicyPod[] => {
    if ('cidr' in peer) return [];
    const found =
      known.get(peer) ??
      pods.filter(
        (pod) =>
          (peer.namespaces === undefined ? pod.namespace === namespace : isSelected(peer.namespaces, pod.namespace)) &&
          (peer.pods === undefined || selects(peer.pods, pod.labels)),
      );
    known.set(peer, found);
    return found;
  };
  return pods.map((pod) => {
    const selecting = [...(byNamespace.get(pod.namespace) ?? []), ...everywhere].filter(({ podSelector }) =>
      selects(podSelector, pod.labels),
    );
    const layer = (direction: Direction): Layer | undefined => {
      const holding = selecting.filter((policy) => policy[direction] !== undefined);
      if (holding.length === 0 && isolated === undefined) return undefined;
      const grants = holding.flatMap((policy) =>
        (policy[direction] ?? []).flatMap((rule) =>
          ruleGrants(rule, direction, pod, pods, nameOf(policy), (peer) => chosen(peer, policy.namespace)),
        ),
      );
      // "A Pod cannot block access to itself": by way of a port of the host.
      const self: Grant = { peers: peersOf(pod.addresses), name: 'itself' };
      const unreadable = holding.flatMap((policy) => policy.unreadable ?? []);
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

function ruleGrants(
  { peers, ports }: PolicyRule,
  direction: Direction,
  pod: PolicyPod,
  pods: readonly PolicyPod[],
  name: string,
  chosen: (peer: Peer) => readonly PolicyPod[],
): Grant[] {
  const all =
    peers === undefined
      ? undefined
      : join(peers.map((peer) => ('cidr' in peer ? peersOf([peer.cidr], peer.except) : addressesOf(chosen(peer)))));
  const to = all === undefined ? {} : { peers: all };
  if (ports === undefined) return [{ ...to, name }];
  return ports.flatMap(({ protocol, port }): Grant[] => {
    if (port === undefined) return [{ ...to, protocol, name }];
    if (typeof port !== 'string') return [{ ...to, protocol, ports: [port], name }];
    // The names are those of whoever is connected to: of ingress the pod itself, of egress each peer.
    if (direction === 'ingress')
      return portsCalled(pod, protocol, port).map((number) => ({ ...to, protocol, ports: [single(number)], name }));
    const named = new Map<number, PolicyPod[]>();
    for (const peer of pods)
      for (const number of portsCalled(peer, protocol, port)) named.set(number, [...(named.get(number) ?? []), peer]);
    return [...named].map(([number, those]) => ({
      peers: all === undefined ? addressesOf(those) : within(addressesOf(those), all),
      protocol,
      ports: [single(number)],
      name,
    }));
  });
}

const single = (port: number): { low: number; high: number } => ({ low: port, high: port });

function portsCalled({ namedPorts }: PolicyPod, protocol: PolicyPort['protocol'], name: string): number[] {
  const found = namedPorts.filter((port) => port.name === name && port.protocol === protocol && port.port <= highestPort);
  return [...new Set(found.map(({ port }) => port))];
}

const addressesOf = (pods: readonly PolicyPod[]): Peers => peersOf(pods.flatMap(({ addresses }) => addresses));

const join = (peers: readonly Peers[]): Peers => ({
  four: union(peers.flatMap(({ four }) => four)),
  six: union(peers.flatMap(({ six }) => six)),
});

/** Of single addresses those that are in the other peers. */
function within(some: Peers, all: Peers): Peers {
  const family = (which: keyof Peers): Peers[typeof which] =>
    some[which].flatMap((one) =>
      all[which].flatMap(({ low, high }) => {
        const both = { low: one.low > low ? one.low : low, high: one.high < high ? one.high : high };
        return both.low > both.high ? [] : [both];
      }),
    );
  return { four: union(family('four')), six: union(family('six')) };
}
