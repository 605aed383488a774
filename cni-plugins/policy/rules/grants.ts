import { PortcullisError } from '../../../base/errors/index.ts';
import type { LinkRule } from '../../types.ts';
import { intervalOf, union, without } from './intervals.ts';
import type { Interval, Intervals } from './intervals.ts';
import type { PeerGroup } from './peer-group.ts';

/**
 * The grants of a list of rules, in a form that compiles rule by rule: connections by protocol, port and
 * peer. Pure.
 */
export interface Grant {
  /** Undefined: any protocol. */
  readonly protocol?: LinkRule['protocol'];
  /** Sorted and disjoint. Undefined: any. For icmp: type * 256 + code. */
  readonly ports?: readonly PortRange[];
  /** Blocks of addresses. With neither `peers` nor `group`: any peer of either family. */
  readonly peers?: Peers;
  /** Peers whose addresses change while the rule stays. They count in addition to `peers`. */
  readonly group?: PeerGroup;
  /** The rule that it comes from, shown in listings of the kernel's rules. */
  readonly name: string;
}

export interface PortRange {
  readonly low: number;
  readonly high: number;
}

export interface Peers {
  readonly four: Intervals;
  readonly six: Intervals;
}

export const highestPort = 65535;

/** Returns the addresses of `blocks` that are in none of `except`. @throws NETWORK_BAD_RULE */
export function peersOf(blocks: readonly string[], except: readonly string[] = []): Peers {
  const families: Record<4 | 6, { in: Interval[]; out: Interval[] }> = {
    4: { in: [], out: [] },
    6: { in: [], out: [] },
  };
  for (const [side, list] of [
    ['in', blocks],
    ['out', except],
  ] as const)
    for (const text of list) {
      const found = intervalOf(text);
      if (found === undefined) throw badRule(text, 'it is neither an address nor a block such as 10.0.0.0/8');
      families[found.family][side].push(found.interval);
    }
  const peers = (family: 4 | 6): Intervals =>
    without(union(families[family].in), union(families[family].out));
  return { four: peers(4), six: peers(6) };
}

/**
 * Merges rules of one protocol and port range into one grant. An empty list grants nothing. @throws
 * NETWORK_BAD_RULE
 */
export function grantsOf(rules: readonly LinkRule[]): Grant[] {
  const groups = new Map<
    string,
    { protocol: LinkRule['protocol']; ports: PortRange; peers: Peers[]; names: Set<string> }
  >();
  for (const { protocol, ports, cidr, except, name } of rules) {
    const { low, high } = ports;
    const label = `${cidr} ${protocol} ${low}-${high}`;
    if (!['icmp', 'sctp', 'tcp', 'udp'].includes(protocol))
      throw badRule(label, 'the protocol must be icmp, sctp, tcp or udp');
    if (
      ![low, high].every((port) => Number.isInteger(port) && port >= 0 && port <= highestPort) ||
      low > high
    )
      throw badRule(label, 'its ports are not a range within 0 to 65535');
    const key = `${protocol} ${low} ${high}`;
    const group = groups.get(key) ?? { protocol, ports, peers: [], names: new Set() };
    group.peers.push(peersOf([cidr], except));
    if (name !== undefined) group.names.add(name);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ protocol, ports, peers, names }) => ({
    protocol,
    ...(ports.low === 0 && ports.high === highestPort ? {} : { ports: [ports] }),
    peers: { four: union(peers.flatMap(({ four }) => four)), six: union(peers.flatMap(({ six }) => six)) },
    name: [...names].join(', '),
  }));
}

function badRule(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BAD_RULE',
    kind: 'invalid',
    attempted: 'read the peer rule',
    on,
    why,
    fix: 'write it as a block, a protocol and ports: 10.0.0.0/8, tcp, 5432 to 5432',
  });
}
