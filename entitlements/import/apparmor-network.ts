import type { NetworkProtocol, NetworkRule } from '../types.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { clause, clauseKey, subtract } from '../seccomp/clause.ts';
import type { Clause } from '../seccomp/clause.ts';
import { constantsOf } from '../seccomp/constants.ts';
import { decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';

/** A `network` rule of apparmor.d(5). Absent members mean any. */
export interface NetworkStatement {
  readonly family?: string;
  readonly protocols?: readonly NetworkProtocol[];
  /** The type in socket(2). */
  readonly type?: bigint;
  /** Whether its only word is a protocol. Such a rule is about inet and inet6. */
  readonly isProtocol?: boolean;
}

const BLOCKS: Readonly<Record<string, string>> = { inet: '0.0.0.0/0', inet6: '::/0' };
const FAMILIES: readonly string[] = Object.keys(BLOCKS);
const EVERY: readonly NetworkProtocol[] = ['icmp', 'sctp', 'tcp', 'udp'];
const KINDS: Readonly<Record<string, readonly NetworkProtocol[]>> = {
  stream: ['sctp', 'tcp'],
  seqpacket: ['sctp'],
  tcp: ['tcp'],
  dgram: ['udp'],
  udp: ['udp'],
  raw: ['icmp'],
  icmp: ['icmp'],
};
/** SOCK_PACKET (linux/net.h). */
const PACKET = 10n;
/** Types of socket(2) by the words of AppArmor (linux/net.h, enum sock_type). */
const TYPES: Readonly<Record<string, bigint>> = {
  stream: 1n,
  tcp: 1n,
  dgram: 2n,
  udp: 2n,
  raw: 3n,
  icmp: 3n,
  rdm: 4n,
  seqpacket: 5n,
  dccp: 6n,
  packet: PACKET,
};
const PROTOCOLS = ['tcp', 'udp', 'icmp'];
/** SOCK_TYPE_MASK (linux/net.h): the other bits are SOCK_CLOEXEC and SOCK_NONBLOCK. */
const TYPE_MASK = 0xfn;

/** Returns the family's number in socket(2); undefined for none. */
function familyNumber(name: string): bigint | undefined {
  return constantsOf('socket', 0).get(`AF_${name.toUpperCase()}`);
}

/**
 * Parses the words after `network`, or returns a text with the reason why it cannot be done. A first word
 * that names both a family and a type (`packet`) is the family, as for AppArmor's parser.
 */
export function readNetworkStatement(words: readonly string[]): NetworkStatement | string {
  const [first] = words;
  const isFamily = first !== undefined && (familyNumber(first) !== undefined || !Object.hasOwn(TYPES, first));
  const family = isFamily ? first : undefined;
  const rest = family === undefined ? words : words.slice(1);
  if (family !== undefined && familyNumber(family) === undefined)
    return `there is no address family ${family}`;
  const odd = rest.find((word) => !Object.hasOwn(TYPES, word));
  if (odd !== undefined || rest.length > 1)
    return `${JSON.stringify(odd ?? rest.join(' '))} is not a known type of socket`;
  const kind = rest[0];
  const type = kind === undefined ? undefined : TYPES[kind];
  return {
    ...(family !== undefined && { family }),
    ...(kind !== undefined && { protocols: KINDS[kind] ?? [] }),
    ...(type !== undefined && { type }),
    ...(family === undefined && kind !== undefined && { isProtocol: PROTOCOLS.includes(kind) }),
  };
}

/** The meaning of a text's network rules. */
export interface NetworkMeaning {
  /** Peers and protocols of inet and inet6. */
  readonly rules: readonly NetworkRule[];
  /** The allowed arguments of socket(2) and socketpair(2), to be met with a policy. */
  readonly sockets: FilteredPolicy;
}

/**
 * Returns what is allowed minus what is denied. `unix` is a family like others, and a `unix` rule allows it.
 * @throws ENTITLEMENTS_TOO_COMPLEX
 */
export function networkMeaning(
  allow: readonly NetworkStatement[],
  deny: readonly NetworkStatement[],
): NetworkMeaning {
  const cells = (statements: readonly NetworkStatement[]): string[] =>
    statements.flatMap(({ family, protocols = EVERY }) =>
      FAMILIES.filter((one) => family === undefined || family === one).flatMap((one) =>
        protocols.map((protocol) => `${one} ${protocol}`),
      ),
    );
  const denied = new Set(cells(deny));
  const left = [...new Set(cells(allow))].filter((cell) => !denied.has(cell));
  const rules = left.flatMap((cell): NetworkRule[] => {
    const [family = '', protocol] = cell.split(' ');
    return [
      { cidr: BLOCKS[family] ?? '', protocol: protocol as NetworkProtocol, ports: { low: 0, high: 65535 } },
    ];
  });
  // For the kernel, inet with the type packet is the family packet (net/socket.c, __sock_create).
  const packets = clausesOf({ family: 'packet', type: PACKET });
  const allowsPackets = subtract(packets, clausesOfAll(allow)).length === 0;
  const without = clausesOfAll([
    ...deny,
    ...(allowsPackets && subtract(packets, clausesOfAll(deny)).length > 0
      ? []
      : [{ family: 'inet', type: PACKET }]),
  ]);
  return { rules, sockets: socketPolicy(subtract(clausesOfAll(allow), without)) };
}

function clausesOfAll(statements: readonly NetworkStatement[]): Clause[] {
  const clauses = new Map(statements.flatMap(clausesOf).map((when) => [clauseKey(when), when]));
  return [...clauses.values()];
}

/** Returns the arguments of socket(2) to which a statement applies. */
function clausesOf({ family, type, isProtocol }: NetworkStatement): Clause[] {
  const ofType =
    type === undefined
      ? undefined
      : argumentTest(1, argumentWidth('socket', 1), { mask: TYPE_MASK, value: type });
  const families = family !== undefined ? [family] : isProtocol === true ? FAMILIES : [undefined];
  return families.map((name) => {
    const number = name === undefined ? undefined : familyNumber(name);
    const ofFamily =
      number === undefined
        ? undefined
        : argumentTest(0, argumentWidth('socket', 0), { low: number, high: number });
    return clause([ofFamily, ofType].filter((test) => test !== undefined));
  });
}

function socketPolicy(allowed: readonly Clause[]): FilteredPolicy {
  // EACCES, AppArmor's answer.
  const of = decision(
    'errno 13',
    allowed.map((when) => ({ outcome: 'allow' as const, when })),
  );
  return filteredPolicy(
    'allow',
    ['socket', 'socketpair'].map((name) => [name, of] as const),
  );
}
