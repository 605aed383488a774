import { isIPv4, isIPv6 } from 'node:net';

/** IP addresses and prefixes as numbers. Pure. */

export type IpFamily = 4 | 6;

export interface IpAddress {
  readonly family: IpFamily;
  readonly value: bigint;
}

export interface IpPrefix {
  /** The address, host bits included. */
  readonly address: IpAddress;
  readonly length: number;
}

/** Returns the number of bits of an address. */
export const bitsOf = (family: IpFamily): number => (family === 4 ? 32 : 128);

/**
 * Parses an IP address. Returns undefined if the text is not one. A zone (`%eth0`) or IPv4 inside IPv6 is not
 * accepted.
 */
export function parseIp(text: string): IpAddress | undefined {
  if (text === '') return undefined;
  if (isIPv4(text)) return { family: 4, value: BigInt(ipv4Number(text)) };
  if (!isIPv6(text) || text.includes('.') || text.includes('%')) return undefined;
  const [head = '', tail] = text.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const all = [...left, ...Array.from({ length: 8 - left.length - right.length }, () => '0'), ...right];
  return { family: 6, value: all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n) };
}

const mappedIpv4 = /^::ffff:(?=\d+(?:\.\d+){3}$)/iu;

/** Parses an IP address. As in Go's net.ParseIP, an IPv4-mapped IPv6 address is the IPv4 address. */
export function parseIpOrMapped(text: string): IpAddress | undefined {
  const address = parseIp(text.replace(mappedIpv4, ''));
  return address?.family === 6 && address.value >> 32n === 0xffffn
    ? { family: 4, value: address.value & 0xffff_ffffn }
    : address;
}

/**
 * Returns an IPv4 address whose numbers begin with zeros without these zeros, and any other text unchanged.
 * The API of Kubernetes accepts such numbers and reads them as decimal (Go's `ParseIPSloppy`).
 */
export const withoutLeadingZeros = (text: string): string =>
  dottedNumbers.test(text) ? text.replaceAll(/(?<!\d)0+(?=\d)/gu, '') : text;

const dottedNumbers = /^\d+(?:\.\d+){3}$/u;

/** Without substrings: tens of thousands of addresses are parsed in a row. @param text an IPv4 address */
function ipv4Number(text: string): number {
  let [sum, part] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === dot) [sum, part] = [sum * 256 + part, 0];
    else part = part * 10 + code - zero;
  }
  return sum * 256 + part;
}

const [dot, zero] = [0x2e, 0x30];

/**
 * Parses an address with the length of its prefix, such as `10.0.0.1/8`. Returns undefined if the text is not
 * one.
 */
export function parsePrefix(text: string): IpPrefix | undefined {
  const slash = text.indexOf('/');
  const digits = text.slice(slash + 1);
  if (slash === -1 || !/^\d{1,3}$/u.test(digits)) return undefined;
  const address = parseIp(text.slice(0, slash));
  const length = Number(digits);
  if (address === undefined || length > bitsOf(address.family)) return undefined;
  return { address, length };
}

/** Formats an address; IPv6 in the canonical form of RFC 5952. */
export function formatIp(address: IpAddress): string {
  if (address.family === 4) {
    const bits = Number(address.value);
    return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}`;
  }
  const bytes = ipBytes(address);
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16)).join(
    ':',
  );
  const runs = [...groups.matchAll(/(?:^|:)0(?::0)+(?=:|$)/gu)].toSorted(
    (a, b) => b[0].replaceAll(':', '').length - a[0].replaceAll(':', '').length,
  );
  const longest = runs[0];
  if (longest === undefined) return groups;
  const before = groups.slice(0, longest.index);
  const after = groups.slice(longest.index + longest[0].length).replace(/^:/u, '');
  return `${before}::${after}`;
}

/** Returns an address in the form that {@link formatIp} writes, or undefined if the text is not one. */
export function canonicalIp(text: string): string | undefined {
  // IPv4 has one form.
  if (isIPv4(text)) return text;
  const address = parseIp(text);
  return address && formatIp(address);
}

/** Does the same for an address with the length of its prefix. */
export function canonicalPrefix(text: string): string | undefined {
  const prefix = parsePrefix(text);
  return prefix && `${formatIp(prefix.address)}/${prefix.length}`;
}

/** Returns the 4 or 16 bytes of the address in network order. */
export function ipBytes(address: IpAddress): Buffer {
  if (address.family === 4) {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32BE(Number(address.value));
    return bytes;
  }
  const bytes = Buffer.allocUnsafe(16);
  bytes.writeBigUInt64BE(address.value >> 64n, 0);
  bytes.writeBigUInt64BE(address.value & lowHalf, 8);
  return bytes;
}

/** Returns the 4 or 16 bytes of an address in network order, or undefined if the text is not an address. */
export function ipTextBytes(text: string): Buffer | undefined {
  if (!isIPv4(text)) {
    const address = parseIp(text);
    return address && ipBytes(address);
  }
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(ipv4Number(text));
  return bytes;
}

const lowHalf = (1n << 64n) - 1n;

/** Returns the address of 4 or 16 bytes in network order. */
export function ipFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return { family: 4, value: BigInt(Buffer.from(bytes).readUInt32BE()) };
  return { family: 6, value: BigInt(`0x${Buffer.from(bytes).toString('hex')}`) };
}

/** Returns the first address of the prefix. */
export function networkOf(prefix: IpPrefix): IpAddress {
  const host = BigInt(bitsOf(prefix.address.family) - prefix.length);
  return { family: prefix.address.family, value: (prefix.address.value >> host) << host };
}

/** Returns the last address of the prefix; for IPv4 this is the broadcast address. */
export function lastOf(prefix: IpPrefix): IpAddress {
  const host = BigInt(bitsOf(prefix.address.family) - prefix.length);
  return { family: prefix.address.family, value: networkOf(prefix).value | ((1n << host) - 1n) };
}

/** Returns whether an address is in the network of a prefix. False for another family. */
export function contains(prefix: IpPrefix, address: IpAddress): boolean {
  return (
    address.family === prefix.address.family &&
    address.value >= networkOf(prefix).value &&
    address.value <= lastOf(prefix).value
  );
}

const multicast: readonly IpPrefix[] = [
  { address: { family: 4, value: 224n << 24n }, length: 4 },
  { address: { family: 6, value: 0xffn << 120n }, length: 8 },
];

/** Returns whether an address is one of a multicast group (RFC 1112, RFC 4291 section 2.7). */
export const isMulticast = (address: IpAddress): boolean =>
  multicast.some((prefix) => contains(prefix, address));

/**
 * The addresses by which every host means itself: `this host` and loopback (RFC 6890). The kernel delivers
 * such packets to their own sender.
 */
export const ownHost: readonly IpPrefix[] = [
  { address: { family: 4, value: 0n }, length: 8 },
  { address: { family: 4, value: 127n << 24n }, length: 8 },
  { address: { family: 6, value: 0n }, length: 127 },
];
