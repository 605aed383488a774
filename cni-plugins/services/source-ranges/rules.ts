import {
  constant,
  counter,
  differs,
  inSet,
  mapped,
  masked,
  meta,
  payload,
  register,
  setMeta,
  u32,
  verdict,
} from '../../../base/netlink/index.ts';
import type { NamedSet } from '../../../base/netlink/index.ts';
import type { Family } from '../model/model.ts';

/**
 * The chain that a new connection to a restricted virtual server passes, as values. It returns for a source
 * that may connect, and drops every other. There is one rule for each possible prefix length, from the
 * longest, and each server has a bit field of the lengths that it uses. A connection costs one lookup for
 * each of those lengths. A change costs only the elements that change, however many servers there are.
 */
export const sourcesChain = 'sources';

/** Server → bits of {@link bitOf}. */
export const restrictedMap = 'restricted';
/** Server, length, network: a client in the network may connect. */
export const rangesSet = 'source_ranges';
/** Servers, each with a counter of dropped packets. */
export const deniedSet = 'denied';

const addressBits: Readonly<Record<Family, number>> = { 4: 32, 6: 128 };

/** Returns one bit for each length of IPv4, and for every four lengths of IPv6. @param length 1 or more */
export const bitOf = (family: Family, length: number): number =>
  (1 << (((length - 1) * 32) / addressBits[family])) >>> 0;

/** Returns a prefix length as part of a key. */
export const lengthKey = u32;

export function rangeSetsOf(family: Family): readonly NamedSet[] {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const server = [address, 'inet_proto', 'inet_service'] as const;
  return [
    { name: restrictedMap, key: server, data: ['mark'] },
    { name: rangesSet, key: [...server, 'mark', address] },
    { name: deniedSet, key: server, counted: true },
  ];
}

/**
 * Loads the address, protocol and port that a packet is for, from `register(0)` on, in the form of server
 * keys.
 */
export function serverOf(family: Family): readonly Buffer[] {
  const [at, size] = family === 4 ? [16, 4] : [24, 16];
  return [
    payload('network', at, size, register(0)),
    meta('l4proto', register(size / 4)),
    payload('transport', 2, 2, register(size / 4 + 1)),
  ];
}

function maskOf(family: Family, length: number): Buffer {
  const bits = 2n ** BigInt(addressBits[family]) - 2n ** BigInt(addressBits[family] - length);
  return Buffer.from(bits.toString(16).padStart(addressBits[family] / 4, '0'), 'hex');
}

/**
 * Returns the rules of {@link sourcesChain}. The bits are passed in the packet's priority, which is 0
 * afterwards.
 */
export function sourceRulesOf(family: Family): readonly (readonly Buffer[])[] {
  const key = serverOf(family);
  const [length, source] = [register(addressBits[family] / 32 + 2), register(addressBits[family] / 32 + 3)];
  const [at, size] = family === 4 ? [12, 4] : [8, 16];
  const scratch = register(0);
  const lengths = Array.from({ length: addressBits[family] }, (_, index) => addressBits[family] - index);
  return [
    [...key, mapped(restrictedMap, scratch, scratch), setMeta('priority', scratch)],
    ...lengths.map((each) => [
      meta('priority', scratch),
      masked(scratch, u32(bitOf(family, each))),
      differs(scratch, u32(0)),
      ...key,
      constant(lengthKey(each), length),
      payload('network', at, size, source),
      masked(source, maskOf(family, each)),
      inSet(rangesSet, scratch),
      constant(u32(0), scratch),
      setMeta('priority', scratch),
      verdict('return'),
    ]),
    [...key, inSet(deniedSet, scratch)],
    [counter(), verdict('drop')],
  ];
}
