import { blockWithin, parseCidr } from '../profile/cidr.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import type { Clause } from '../seccomp/clause.ts';
import { argumentWidth } from '../seccomp/syscalls.ts';
import type { Question } from './question.ts';

/** linux/socket.h */
const [AF_INET, AF_INET6, AF_PACKET, AF_SMC] = [2n, 10n, 17n, 43n];
/** linux/socket.h: send(2) connects first. */
const MSG_FASTOPEN = 0x20000000n;

/** The calls that send to an address, with the position of their flags. */
const SENDING = [
  ['sendto', 3],
  ['sendmsg', 2],
  ['sendmmsg', 3],
] as const;

export type NetworkQuestion = Extract<Question, { kind: 'network' }>;

/** Returns the calls that open a socket for a peer. Sockets of inet6 also reach IPv4, by ::ffff:0:0/96. */
export function openingCalls({ protocol, cidr }: NetworkQuestion): (readonly [string, Clause])[] {
  const families = [
    ...(cidr.includes(':') ? [] : [AF_INET]),
    AF_INET6,
    AF_PACKET,
    ...(protocol === 'tcp' ? [AF_SMC] : []),
  ];
  return families.map((family) => ['socket', bits('socket', 0, { low: family, high: family })] as const);
}

/** Returns the calls of which one is enough to use the socket. listen(2) and sending choose a port. */
export function usingCalls({ direction, protocol }: NetworkQuestion): (readonly [string, Clause])[] {
  const sending = SENDING.map(([name, flags]) => {
    const must = protocol === 'tcp' ? bits(name, flags, { mask: MSG_FASTOPEN, value: MSG_FASTOPEN }) : [];
    return [name, must] as const;
  });
  if (direction === 'egress') return [['connect', []], ...sending];
  if (protocol === 'tcp' || protocol === 'sctp') return [['listen', []]];
  return protocol === 'icmp' ? [] : [['bind', []], ['connect', []], ...sending];
}

function bits(name: string, index: number, set: Parameters<typeof argumentTest>[2]): Clause {
  const test = argumentTest(index, argumentWidth(name, index), set);
  return test === undefined ? [] : [test];
}

const LOOPBACK = ['127.0.0.0/8', '::1/128'].flatMap((text) => parseCidr(text) ?? []);

/**
 * Returns whether an address is one of the pod's own loopback. Its packets do not cross the link of the pod,
 * where peer rules apply.
 */
export function isLoopback(cidr: string): boolean {
  const block = parseCidr(cidr);
  return block !== undefined && LOOPBACK.some((one) => blockWithin(block, one));
}
