import { concatenated, counter, interfaceKey, verdict } from '../../../base/netlink/index.ts';
import type { Element, Table } from '../../../base/netlink/index.ts';
import { append } from '../../../base/lists/index.ts';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import { conditionsOf } from './conditions.ts';
import type { Direction, PeerSet } from './conditions.ts';
import type { Grant } from './grants.ts';
import { layerChains } from './layer-chains.ts';
import type { Layer, LayerChains, NamedChain } from './layer-chains.ts';
import type { PeerGroup } from './peer-group.ts';
import { frameTable, judgeTable } from './tables.ts';
import type { PolicyRule } from './tables.ts';

/** Chains that one pod with rules adds to the constant tables, and elements that lead to them. Pure. */

export type { Direction, Layer };

/** A rule of a tier of ClusterNetworkPolicies, without its peers and ports: what happens with its packets. */
export interface TierStep extends Grant {
  /** `pass`: the next tier decides. */
  readonly action: 'accept' | 'deny' | 'pass';
  /** Groups that it waits for: it denies everything until they are complete. */
  readonly awaits?: readonly PeerGroup[];
}

/** Rules that are tried in turn. What none of them matches goes on to the next tier. */
export interface Tier {
  readonly steps: readonly TierStep[];
  /** Parts of the objects that are not in force as they are written. */
  readonly unreadable?: readonly string[];
}

/**
 * Rules of a pod. In each direction the profile must grant, and the tiers must accept: `admin`, then
 * `policies` if there are any, otherwise `baseline`. An absent tier restricts nothing.
 */
export interface PodRules {
  /** Rules of the profiles of the pod's containers. They apply to every peer. */
  readonly profile: Readonly<Partial<Record<Direction, Layer>>>;
  /** NetworkPolicies. They apply to every peer except the node itself. */
  readonly policies: Readonly<Partial<Record<Direction, Layer>>>;
  /**
   * ClusterNetworkPolicies. Those of egress apply to the node itself too. Those of ingress name pods that are
   * not in the network of a node, and so never the node.
   */
  readonly admin?: Readonly<Partial<Record<Direction, Tier>>>;
  readonly baseline?: Readonly<Partial<Record<Direction, Tier>>>;
}

export interface RuledLink {
  readonly hostInterface: string;
  /** Includes the link-local address. */
  readonly addresses: readonly string[];
  /** MAC of the bridge that the link is a port of. Absent where the host routes to it. */
  readonly bridgeMac?: string;
  readonly rules: PodRules;
}

export interface PodFragment {
  readonly chains: readonly NamedChain[];
  /** Sets of addresses, named by their content, so that pods share them, and the pod's own maps of ports. */
  readonly sets: readonly PeerSet[];
  readonly elements: readonly (readonly [table: Table, set: string, element: Element])[];
}

const directions = ['egress', 'ingress'] as const;

export function podFragment({ hostInterface, addresses, bridgeMac, rules }: RuledLink): PodFragment {
  const chains: NamedChain[] = [];
  const maps: LayerElement[] = [];
  const sets = new Map<string, PeerSet>();
  const heads: { direction: Direction; all: string; host?: string }[] = [];
  for (const direction of directions) {
    const made = directionChains(hostInterface, direction, rules, sets);
    append(chains, made.chains);
    append(maps, made.elements);
    const { all, host } = made;
    if (all !== undefined) heads.push({ direction, all, ...(host !== undefined && { host }) });
  }
  const own = addresses.flatMap((text) => parseIp(text) ?? []);
  const { egress } = rules.profile;
  const untracked = egress === undefined ? undefined : `${hostInterface}_egress_untracked`;
  if (egress !== undefined && untracked !== undefined)
    append(chains, layerChains(untracked, 'egress', egress, { sets, by: 'packet' }).chains);
  return {
    chains,
    sets: [...sets.values()],
    elements:
      heads.length === 0
        ? []
        : [
            ...linkElements(hostInterface, bridgeMac === undefined, heads),
            ...own.flatMap((address) => addressElements(address, heads)),
            ...(untracked === undefined ? [] : own.map((address) => untrackedElement(address, untracked))),
            ...maps.map(([map, element]) => [judgeTable, map, element] as const),
          ],
  };
}

/** Returns the groups that the rules refer to, or wait for. */
export function groupsOfRules({ policies, admin, baseline }: PodRules): Set<PeerGroup> {
  const found = new Set<PeerGroup>();
  for (const direction of directions) {
    for (const { group } of policies[direction]?.grants ?? []) if (group !== undefined) found.add(group);
    for (const tier of [admin, baseline])
      for (const { group, awaits = [] } of tier?.[direction]?.steps ?? [])
        for (const one of group === undefined ? awaits : [group, ...awaits]) found.add(one);
  }
  return found;
}

type LayerElement = LayerChains['elements'][number];

interface DirectionChains extends LayerChains {
  /** The first chain for packets from and to others, and for those of the node itself. Undefined: none. */
  readonly all: string | undefined;
  readonly host: string | undefined;
}

function directionChains(
  hostInterface: string,
  direction: Direction,
  rules: PodRules,
  sets: Map<string, PeerSet>,
): DirectionChains {
  const chains: NamedChain[] = [];
  const elements: LayerElement[] = [];
  const nameOf = (layer: string): string => `${hostInterface}_${direction}_${layer}`;
  /** @param next the chain that goes on; undefined: the packet is accepted */
  const addLayer = (layer: string, grants: Layer, next: string | undefined): string => {
    const name = nameOf(layer);
    const made = layerChains(name, direction, grants, { next, sets, by: 'connection' });
    append(chains, made.chains);
    append(elements, made.elements);
    return name;
  };
  const addTier = (layer: string, tier: Tier, next: string | undefined): string => {
    const name = nameOf(layer);
    chains.push({ name, rules: tierRules(name, direction, tier, { accepted, next }, sets) });
    return name;
  };
  const [profile, policies] = [rules.profile[direction], rules.policies[direction]];
  const [admin, baseline] = [rules.admin?.[direction], rules.baseline?.[direction]];
  const accepted = profile && addLayer('profile', profile, undefined);
  // "Further evaluation only happens for Pods not selected by a v1.NetworkPolicy."
  const middle =
    policies !== undefined
      ? addLayer('policies', policies, accepted)
      : baseline !== undefined
        ? addTier('baseline', baseline, accepted)
        : accepted;
  const all = admin === undefined ? middle : addTier('admin', admin, middle);
  if (direction === 'ingress') return { chains, elements, all, host: accepted };
  // NetworkPolicies always accept the node itself, and that is final.
  if (policies === undefined) return { chains, elements, all, host: all };
  const host = admin === undefined ? accepted : addTier('admin_host', admin, accepted);
  return { chains, elements, all, host };
}

/**
 * Returns the rules of a tier, in their order. A packet that is accepted skips everything but the profile;
 * one that no rule matches goes on to the next tier.
 */
function tierRules(
  chain: string,
  direction: Direction,
  { steps }: Tier,
  to: { readonly accepted: string | undefined; readonly next: string | undefined },
  sets: Map<string, PeerSet>,
): PolicyRule[] {
  const goOn = (next: string | undefined): Buffer => verdict(next === undefined ? 'return' : { goto: next });
  const actions = {
    accept: [goOn(to.accepted)],
    deny: [counter(), verdict('drop')],
    pass: [goOn(to.next)],
  } as const;
  return [
    ...steps.flatMap((step) =>
      conditionsOf(step, direction, sets, 'connection').map(({ expressions }): PolicyRule => ({
        chain,
        expressions: [...expressions, ...actions[step.action]],
        comment: step.name,
      })),
    ),
    { chain, expressions: [goOn(to.next)] },
  ];
}

/** A routed link's packets reach the judgement without such an element. */
function linkElements(
  hostInterface: string,
  isRouted: boolean,
  heads: readonly { direction: Direction }[],
): PodFragment['elements'] {
  const key = interfaceKey(hostInterface);
  return heads.flatMap(({ direction }): PodFragment['elements'] => {
    if (isRouted) return direction === 'egress' ? [] : [[judgeTable, 'ruled_receivers', { key }]];
    return [[frameTable, direction === 'egress' ? 'ruled_senders' : 'ruled_receivers', { key }]];
  });
}

function addressElements(
  address: IpAddress,
  heads: readonly { direction: Direction; all: string; host?: string }[],
): PodFragment['elements'] {
  const { family } = address;
  const key = ipBytes(address);
  return [
    [frameTable, `ruled${family}`, { key }],
    [judgeTable, `ruled${family}`, { key }],
    [judgeTable, `self${family}`, { key: concatenated(key, key) }],
    ...heads.flatMap(({ direction, all, host }): PodFragment['elements'] => [
      [judgeTable, `${direction}${family}`, { key, value: { jump: all } }],
      ...(host === undefined
        ? []
        : ([[judgeTable, `host_${direction}${family}`, { key, value: { jump: host } }]] as const)),
    ]),
  ];
}

const untrackedElement = (address: IpAddress, chain: string): PodFragment['elements'][number] => [
  judgeTable,
  `untracked${address.family}`,
  { key: ipBytes(address), value: { jump: chain } },
];
