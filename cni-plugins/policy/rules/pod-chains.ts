import { createHash } from 'node:crypto';
import {
  connection,
  counter,
  equals,
  inSet,
  meta,
  payload,
  register,
  verdict,
  within,
  concatenated,
  interfaceKey,
  be16,
} from '../../../base/netlink/index.ts';
import type { Element, NamedSet, Table } from '../../../base/netlink/index.ts';
import { ipBytes, parseIp } from '../../../base/addresses/index.ts';
import type { IpAddress } from '../../../base/addresses/index.ts';
import type { Grant, PortRange } from './grants.ts';
import { elementsOf, isEverything } from './intervals.ts';
import type { Intervals } from './intervals.ts';
import { groupSet, memberElements } from './peer-group.ts';
import type { PeerGroup } from './peer-group.ts';
import { frameTable, judgeTable } from './tables.ts';
import type { PolicyRule } from './tables.ts';

/**
 * What one pod with rules adds to the constant tables: its own chains, and elements that lead to them. Pure.
 */

export type Direction = 'egress' | 'ingress';

/** One layer of rules that must grant a connection, with the texts for a denial. */
export interface Layer {
  readonly grants: readonly Grant[];
  /** Comment of the rule that denies what no grant of the layer allows. */
  readonly denies: string;
  /** Why objects that cannot be understood isolate the pod. */
  readonly unreadable?: readonly string[];
}

/** Rules of a pod. In each direction both layers must grant. An absent layer restricts nothing. */
export interface PodRules {
  /** Rules of the profiles of the pod's containers. They apply to every peer. */
  readonly profile: Readonly<Partial<Record<Direction, Layer>>>;
  /** NetworkPolicies. They apply to every peer except the node itself. */
  readonly policies: Readonly<Partial<Record<Direction, Layer>>>;
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
  readonly sets: readonly { readonly set: NamedSet; readonly elements: readonly Element[] }[];
  readonly elements: readonly (readonly [table: Table, set: string, element: Element])[];
}

type PeerSet = PodFragment['sets'][number];

const directions = ['egress', 'ingress'] as const;
const protocolNumbers = {
  icmp: { 4: 1, 6: 58 },
  tcp: { 4: 6, 6: 6 },
  udp: { 4: 17, 6: 17 },
  sctp: { 4: 132, 6: 132 },
} as const;
const [r0] = [register(0)];

export function podFragment({ hostInterface, addresses, bridgeMac, rules }: RuledLink): PodFragment {
  const chains: { name: string; rules: readonly PolicyRule[] }[] = [];
  const sets = new Map<string, PeerSet>();
  const heads: { direction: Direction; all: string; host?: string }[] = [];
  for (const direction of directions) {
    const [profile, policies] = [rules.profile[direction], rules.policies[direction]];
    const name = (layer: string): string => `${hostInterface}_${direction}_${layer}`;
    if (profile !== undefined)
      chains.push({
        name: name('profile'),
        rules: layerRules(name('profile'), direction, profile, undefined, sets),
      });
    if (policies !== undefined) {
      const next = profile === undefined ? undefined : name('profile');
      chains.push({
        name: name('policies'),
        rules: layerRules(name('policies'), direction, policies, next, sets),
      });
    }
    const head =
      policies === undefined ? (profile === undefined ? undefined : name('profile')) : name('policies');
    if (head !== undefined)
      heads.push({ direction, all: head, ...(profile === undefined ? {} : { host: name('profile') }) });
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

/** A packet is judged by its connection, or by itself where it has none. */
type JudgedBy = 'connection' | 'packet';

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

const families = [4, 6] as const;
const nfproto = { 4: 2, 6: 10 } as const;

/**
 * The conditions of a grant: one list of expressions per nf_tables rule, and sets of addresses. All
 * expressions of a list must match.
 */
interface Conditions {
  readonly rules: readonly (readonly Buffer[])[];
  readonly sets: readonly PeerSet[];
}

/** Pods that a policy selects share its grants as the same values, so one copy serves all of them. */
const kept = new WeakMap<Grant, Map<string, Conditions>>();

function conditionsOf(
  grant: Grant,
  direction: Direction,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): Conditions['rules'] {
  const own = kept.get(grant) ?? new Map<string, Conditions>();
  kept.set(grant, own);
  const key = `${direction} ${by}`;
  const found = own.get(key) ?? makeConditions(grant, direction, by);
  own.set(key, found);
  for (const each of found.sets) sets.set(each.set.name, each);
  return found.rules;
}

function makeConditions(grant: Grant, direction: Direction, by: JudgedBy): Conditions {
  const sets = new Map<string, PeerSet>();
  const rules = rulesOf(grant, direction, sets, by);
  return { rules, sets: [...sets.values()] };
}

function rulesOf(grant: Grant, direction: Direction, sets: Map<string, PeerSet>, by: JudgedBy): Buffer[][] {
  const { peers, group } = grant;
  return [
    ...(peers === undefined && group !== undefined ? [] : blockRules(grant, direction, sets, by)),
    ...(group === undefined ? [] : groupRules(grant, group, direction, sets)),
  ];
}

function protocolCondition(protocol: Grant['protocol'], family: 4 | 6, by: JudgedBy): readonly Buffer[] {
  if (protocol === undefined) return [];
  return [
    by === 'packet' ? meta('l4proto', r0) : connection('protocol', 'original', r0),
    equals(r0, Buffer.of(protocolNumbers[protocol][family])),
  ];
}

/** Only NetworkPolicies have groups, and they judge connections. */
function groupRules(
  { protocol, ports }: Grant,
  group: PeerGroup,
  direction: Direction,
  sets: Map<string, PeerSet>,
): Buffer[][] {
  const ranges: readonly (PortRange | undefined)[] = ports ?? [undefined];
  return families.flatMap((family): Buffer[][] => {
    const set = groupSet(group, family);
    sets.set(set.name, {
      set,
      get elements() {
        return memberElements(group.members, family);
      },
    });
    const address = connection(
      family === 4 ? 'from4' : 'from6',
      direction === 'egress' ? 'reply' : 'original',
      r0,
    );
    const responderPort = connection('portFrom', 'reply', register(family === 4 ? 1 : 4));
    return ranges.map((range) => [
      meta('nfproto', r0),
      equals(r0, Buffer.of(nfproto[family])),
      ...protocolCondition(protocol, family, 'connection'),
      ...(range === undefined ? [] : portCondition(protocol, range, 'connection')),
      address,
      ...(group.withPorts ? [responderPort] : []),
      inSet(set.name, r0),
    ]);
  });
}

function blockRules(
  { protocol, ports, peers }: Grant,
  direction: Direction,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): Buffer[][] {
  const ranges: readonly (PortRange | undefined)[] = ports ?? [undefined];
  const wanted = families.map((family) => ({
    family,
    intervals: peers === undefined ? undefined : family === 4 ? peers.four : peers.six,
  }));
  return wanted.flatMap(({ family, intervals }): Buffer[][] => {
    if (intervals?.length === 0) return [];
    return ranges.map((range) => [
      meta('nfproto', r0),
      equals(r0, Buffer.of(nfproto[family])),
      ...protocolCondition(protocol, family, by),
      ...(range === undefined ? [] : portCondition(protocol, range, by)),
      ...(intervals === undefined || isEverything(intervals, family)
        ? []
        : peerCondition(direction, family, intervals, sets, by)),
    ]);
  });
}

/** Matches the responder's port, after translation; for ICMP the type and code of the request. */
function portCondition(
  protocol: Grant['protocol'],
  { low, high }: PortRange,
  by: JudgedBy,
): readonly Buffer[] {
  const ofPacket = payload('transport', protocol === 'icmp' ? 0 : 2, 2, r0);
  const load =
    protocol === 'icmp' ? connection('portTo', 'original', r0) : connection('portFrom', 'reply', r0);
  return [
    by === 'packet' ? ofPacket : load,
    ...(low === high ? [equals(r0, be16(low))] : within(r0, be16(low), be16(high))),
  ];
}

/**
 * Shared by all pods with these peers: a policy may name thousands of peers, and select each pod of the node.
 */
const peerSets = { 4: new WeakMap<Intervals, PeerSet>(), 6: new WeakMap<Intervals, PeerSet>() } as const;

function peerSetOf(family: 4 | 6, intervals: Intervals): PeerSet {
  const text = intervals.map(({ low, high }) => `${low.toString(16)}-${high.toString(16)}`).join(' ');
  const name = `peers${family}_${createHash('sha256').update(text).digest('hex').slice(0, 24)}`;
  return {
    set: { name, key: [family === 4 ? 'ipv4_addr' : 'ipv6_addr'], interval: true },
    elements: elementsOf(intervals, family),
  };
}

function peerCondition(
  direction: Direction,
  family: 4 | 6,
  intervals: Intervals,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): readonly Buffer[] {
  const shared = peerSets[family].get(intervals) ?? peerSetOf(family, intervals);
  peerSets[family].set(intervals, shared);
  const { name } = shared.set;
  sets.set(name, shared);
  if (by === 'packet')
    return [payload('network', family === 4 ? 16 : 24, family === 4 ? 4 : 16, r0), inSet(name, r0)];
  // For egress the peer is the responder, for ingress the initiator.
  return [
    connection(family === 4 ? 'from4' : 'from6', direction === 'egress' ? 'reply' : 'original', r0),
    inSet(name, r0),
  ];
}
