import type { NetworkProtocol, NetworkRule } from '../types.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { constantsOf } from '../seccomp/constants.ts';
import { decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { FilteredPolicy } from '../seccomp/policy.ts';

/** A `network` rule of apparmor.d(5). Absent members mean any. */
export interface NetworkStatement {
  readonly family?: string;
  readonly protocols?: readonly NetworkProtocol[];
  /** Whether it names a type or protocol, known or not. */
  readonly narrowed: boolean;
}

const BLOCKS: Readonly<Record<string, string>> = { inet: '0.0.0.0/0', inet6: '::/0' };
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
/** Socket types of AppArmor without a protocol in profiles. */
const OTHER_KINDS = ['rdm', 'dccp', 'packet', 'invalid'];

/** Returns the family's number in socket(2); undefined for none. */
function familyNumber(name: string): bigint | undefined {
  return constantsOf('socket', 0).get(`AF_${name.toUpperCase()}`);
}

/** Parses the words after `network`, or returns a text with the reason why it cannot be done. */
export function readNetworkStatement(words: readonly string[]): NetworkStatement | string {
  const [first] = words;
  const family = first !== undefined && !(first in KINDS) && !OTHER_KINDS.includes(first) ? first : undefined;
  const rest = family === undefined ? words : words.slice(1);
  if (family !== undefined && familyNumber(family) === undefined)
    return `there is no address family ${family}`;
  const odd = rest.find((word) => !(word in KINDS) && !OTHER_KINDS.includes(word));
  if (odd !== undefined || rest.length > 1)
    return `${JSON.stringify(odd ?? rest.join(' '))} is not a known type of socket`;
  const kind = rest[0];
  return {
    ...(family !== undefined && { family }),
    ...(kind !== undefined && { protocols: KINDS[kind] ?? [] }),
    narrowed: kind !== undefined,
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
 * Returns what is allowed minus what is denied. A denial of some types of a family other than inet and inet6
 * applies to the whole family: a denial may only become wider here. `unix` is a family like others, and a
 * `unix` rule allows it.
 */
export function networkMeaning(
  allow: readonly NetworkStatement[],
  deny: readonly NetworkStatement[],
): NetworkMeaning {
  const cells = (statements: readonly NetworkStatement[]): string[] =>
    statements.flatMap(({ family, protocols = EVERY }) =>
      Object.keys(BLOCKS)
        .filter((one) => family === undefined || family === one)
        .flatMap((one) => protocols.map((protocol) => `${one} ${protocol}`)),
    );
  const denied = new Set(cells(deny));
  const left = [...new Set(cells(allow))].filter((cell) => !denied.has(cell));
  const rules = left.flatMap((cell): NetworkRule[] => {
    const [family = '', protocol] = cell.split(' ');
    return [
      { cidr: BLOCKS[family] ?? '', protocol: protocol as NetworkProtocol, ports: { low: 0, high: 65535 } },
    ];
  });
  const everyFamily = allow.some(({ family, narrowed }) => family === undefined && !narrowed);
  const none = deny.some(({ family, narrowed }) => family === undefined && !narrowed);
  const whole = (name: string): boolean => !(name in BLOCKS);
  const deniedFamilies = numbers(
    deny.filter(({ family, narrowed }) => family !== undefined && (!narrowed || whole(family))),
  );
  const allowedFamilies = numbers([
    ...allow,
    ...left.map((cell) => ({ family: cell.split(' ')[0] ?? '', narrowed: false })),
  ]);
  return {
    rules: rules,
    sockets: socketPolicy(none ? [] : everyFamily ? undefined : allowedFamilies, deniedFamilies),
  };
}

function numbers(statements: readonly { readonly family?: string }[]): bigint[] {
  return statements.flatMap(({ family }) => (family === undefined ? [] : (familyNumber(family) ?? [])));
}

/** @param allowed undefined: every family */
function socketPolicy(allowed: readonly bigint[] | undefined, denied: readonly bigint[]): FilteredPolicy {
  const holes = [...new Set(denied)].sort((a, b) => (a < b ? -1 : 1));
  const ranges =
    allowed === undefined
      ? [...holes, 1n << 32n].map((high, at) => ({
          low: at === 0 ? 0n : (holes[at - 1] ?? 0n) + 1n,
          high: high - 1n,
        }))
      : [...new Set(allowed)]
          .filter((family) => !holes.includes(family))
          .map((family) => ({ low: family, high: family }));
  const pieces = ranges.flatMap(({ low, high }) => {
    const test = low > high ? undefined : argumentTest(0, 32, { low, high });
    return test === undefined ? [] : [{ outcome: 'allow' as const, when: [test] }];
  });
  // EACCES, AppArmor's answer.
  const of = decision('errno 13', pieces);
  return filteredPolicy(
    'allow',
    ['socket', 'socketpair'].map((name) => [name, of] as const),
  );
}
