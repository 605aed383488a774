import { counter, verdict, concatenated, interfaceKey } from '../../../base/netlink/index.ts';
import type { Element, Table } from '../../../base/netlink/index.ts';
import { append } from '../../../base/lists/index.ts';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import { conditionsOf } from './conditions.ts';
import type { Direction, JudgedBy, PeerSet } from './conditions.ts';
import type { Grant } from './grants.ts';
import type { PeerGroup } from './peer-group.ts';
import { frameTable, judgeTable } from './tables.ts';
import type { PolicyRule } from './tables.ts';

/**
 * What one pod with rules adds to the constant tables: its own chains, and elements that lead to them. Pure.
 */

export type { Direction };

/** One layer of rules that must grant a connection, with the texts for a denial. */
export interface Layer {
  readonly grants: readonly Grant[];
  /** Comment of the rule that denies what no grant of the layer allows. */
  readonly denies: string;
  /** Why objects that cannot be understood isolate the pod. */
  readonly unreadable?: readonly string[];
}

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
  /** What of the objects is not in force as they are written. */
  readonly unreadable?: readonly string[];
}

/**
 * Rules of a pod. In each direction the profile must grant, and the tiers must accept: `admin`, then
 * `policies` if they are there, otherwise `baseline`. An absent one restricts nothing.
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
  readonly chains: readonly { readonly name: string; readonly rules: readonly PolicyRule[] }[];
  /** Sets of addresses, named by their content, so that pods share them. */
  readonly sets: readonly PeerSet[];
  readonly elements: readonly (readonly [table: Table, set: string, element: Element])[];
}

const directions = ['egress', 'ingress'] as const;

export function podFragment({ hostInterface, addresses, bridgeMac, rules }: RuledLink): PodFragment {
  const chains: { name: string; rules: readonly PolicyRule[] }[] = [];
  const sets = new Map<string, PeerSet>();
  const heads: { direction: Direction; all: string; host?: string }[] = [];
  for (const direction of directions) {
    const made = directionChains(hostInterface, direction, rules, sets);
    append(chains, made.chains);
    const { all, host } = made;
    if (all !== undefined) heads.push({ direction, all, ...(host !== undefined && { host }) });
  }
  const own = addresses.flatMap((text) => parseIp(text) ?? []);
  const { egress } = rules.profile;
  const untracked = egress === undefined ? undefined : `${hostInterface}_egress_untracked`;
  if (egress !== undefined && untracked !== undefined)
    chains.push({
      name: untracked,
      rules: layerRules(untracked, 'egress', egress, undefined, sets, 'packet'),
    });
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

interface DirectionChains {
  readonly chains: PodFragment['chains'];
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
  const chains: { name: string; rules: readonly PolicyRule[] }[] = [];
  /** @param next the chain that goes on; undefined: the packet is accepted */
  const add = (layer: string, make: (chain: string) => readonly PolicyRule[]): string => {
    const name = `${hostInterface}_${direction}_${layer}`;
    chains.push({ name, rules: make(name) });
    return name;
  };
  const [profile, policies] = [rules.profile[direction], rules.policies[direction]];
  const [admin, baseline] = [rules.admin?.[direction], rules.baseline?.[direction]];
  const accepted =
    profile && add('profile', (chain) => layerRules(chain, direction, profile, undefined, sets));
  // "Further evaluation only happens for Pods not selected by a v1.NetworkPolicy."
  const tier = (next: string | undefined, steps: Tier) => (chain: string) =>
    tierRules(chain, direction, steps, { accepted, next }, sets);
  const middle =
    policies !== undefined
      ? add('policies', (chain) => layerRules(chain, direction, policies, accepted, sets))
      : baseline !== undefined
        ? add('baseline', tier(accepted, baseline))
        : accepted;
  const all = admin === undefined ? middle : add('admin', tier(middle, admin));
  if (direction === 'ingress') return { chains, all, host: accepted };
  // NetworkPolicies always accept the node itself, and that is final.
  if (policies === undefined) return { chains, all, host: all };
  const host = admin === undefined ? accepted : add('admin_host', tier(accepted, admin));
  return { chains, all, host };
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
      conditionsOf(step, direction, sets, 'connection').map((expressions): PolicyRule => ({
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

/**
 * Returns the rules of a layer. Granted packets go on to the next layer, or return to the judgement. All
 * others are counted and dropped.
 */
function layerRules(
  chain: string,
  direction: Direction,
  { grants, denies }: Layer,
  next: string | undefined,
  sets: Map<string, PeerSet>,
  by: JudgedBy = 'connection',
): PolicyRule[] {
  const granted = verdict(next === undefined ? 'return' : { goto: next });
  return [
    ...grants.flatMap((grant) =>
      conditionsOf(grant, direction, sets, by).map((expressions): PolicyRule => ({
        chain,
        expressions: [...expressions, granted],
        ...(grant.name === '' ? {} : { comment: grant.name }),
      })),
    ),
    { chain, expressions: [counter(), verdict('drop')], comment: denies },
  ];
}
