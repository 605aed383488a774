import { createHash } from 'node:crypto';
import {
  be16,
  concatenated,
  connection,
  equals,
  inSet,
  meta,
  payload,
  register,
  within,
} from '../../../base/netlink/index.ts';
import type { Element, NamedSet } from '../../../base/netlink/index.ts';
import { ipBytes } from '../../../base/addresses/index.ts';
import type { Grant, PortRange } from './grants.ts';
import { elementsOf, isEverything } from './intervals.ts';
import type { Interval, Intervals } from './intervals.ts';
import { groupSet, memberElements } from './peer-group.ts';
import type { PeerGroup } from './peer-group.ts';

/** The conditions under which a grant matches, as expressions of nf_tables and sets of addresses. Pure. */

export type Direction = 'egress' | 'ingress';

export interface PeerSet {
  readonly set: NamedSet;
  readonly elements: readonly Element[];
}

const protocolNumbers = {
  icmp: { 4: 1, 6: 58 },
  tcp: { 4: 6, 6: 6 },
  udp: { 4: 17, 6: 17 },
  sctp: { 4: 132, 6: 132 },
} as const;
const [r0] = [register(0)];

/** A packet is judged by its connection, or by itself if it has none. */
export type JudgedBy = 'connection' | 'packet';

const families = [4, 6] as const;
const nfproto = { 4: 2, 6: 10 } as const;

/**
 * The conditions of a grant: one list of expressions per nf_tables rule, and sets of addresses. All
 * expressions of a list must match.
 */
interface Conditions {
  readonly rules: readonly Conditioned[];
  readonly sets: readonly PeerSet[];
}

/** The conditions of one rule. */
export interface Conditioned {
  readonly expressions: readonly Buffer[];
  /** {@link portKey} of the only connections that can match. Absent: there is no single key. */
  readonly lookup?: Buffer;
}

/** Returns the key of a connection by its protocol and the responder's port. */
export const portKey = (protocol: number, port: number): Buffer =>
  concatenated(Buffer.of(protocol), be16(port));

/** Connections of ICMP have no ports, and rules for packets know no connection. */
function lookupOf(
  protocol: Grant['protocol'],
  range: PortRange | undefined,
  by: JudgedBy,
): Pick<Conditioned, 'lookup'> {
  if (by === 'packet' || protocol === undefined || protocol === 'icmp') return {};
  if (range === undefined || range.low !== range.high) return {};
  return { lookup: portKey(protocolNumbers[protocol][4], range.low) };
}

/** Pods that a policy selects share its grants as the same values, so one copy serves all of them. */
const kept = new WeakMap<Grant, Map<string, Conditions>>();

export function conditionsOf(
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

function rulesOf(
  grant: Grant,
  direction: Direction,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): Conditioned[] {
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
): Conditioned[] {
  const ranges: readonly (PortRange | undefined)[] = ports ?? [undefined];
  return families.flatMap((family): Conditioned[] => {
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
    return ranges.map((range) => ({
      expressions: [
        meta('nfproto', r0),
        equals(r0, Buffer.of(nfproto[family])),
        ...protocolCondition(protocol, family, 'connection'),
        ...(range === undefined ? [] : portCondition(protocol, range, 'connection')),
        address,
        ...(group.withPorts ? [responderPort] : []),
        inSet(set.name, r0),
      ],
      ...lookupOf(protocol, range, 'connection'),
    }));
  });
}

function blockRules(
  { protocol, ports, peers }: Grant,
  direction: Direction,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): Conditioned[] {
  const ranges: readonly (PortRange | undefined)[] = ports ?? [undefined];
  const wanted = families.map((family) => ({
    family,
    intervals: peers === undefined ? undefined : family === 4 ? peers.four : peers.six,
  }));
  return wanted.flatMap(({ family, intervals }): Conditioned[] => {
    if (intervals?.length === 0) return [];
    return ranges.map((range) => ({
      expressions: [
        meta('nfproto', r0),
        equals(r0, Buffer.of(nfproto[family])),
        ...protocolCondition(protocol, family, by),
        ...(range === undefined ? [] : portCondition(protocol, range, by)),
        ...(intervals === undefined || isEverything(intervals, family)
          ? []
          : peerCondition(direction, family, intervals, sets, by)),
      ],
      ...lookupOf(protocol, range, by),
    }));
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

/**
 * Matches one block without a set: for each rule that refers to a set, the kernel passes the names of all
 * sets of the table.
 */
function inInterval(family: 4 | 6, { low, high }: Interval): readonly Buffer[] {
  const [first, last] = [low, high].map((value) => ipBytes({ family, value })) as [Buffer, Buffer];
  return low === high ? [equals(r0, first)] : within(r0, first, last);
}

function peerCondition(
  direction: Direction,
  family: 4 | 6,
  intervals: Intervals,
  sets: Map<string, PeerSet>,
  by: JudgedBy,
): readonly Buffer[] {
  // For egress the peer is the responder, for ingress the initiator.
  const peer =
    by === 'packet'
      ? payload('network', family === 4 ? 16 : 24, family === 4 ? 4 : 16, r0)
      : connection(family === 4 ? 'from4' : 'from6', direction === 'egress' ? 'reply' : 'original', r0);
  const [only, ...others] = intervals;
  if (only !== undefined && others.length === 0) return [peer, ...inInterval(family, only)];
  const shared = peerSets[family].get(intervals) ?? peerSetOf(family, intervals);
  peerSets[family].set(intervals, shared);
  sets.set(shared.set.name, shared);
  return [peer, inSet(shared.set.name, r0)];
}
