import { formatAddress, parseCidr } from './cidr.ts';
import type { NetworkProtocol, NetworkRule } from '../types.ts';

/** A value, or why the text is not a valid one: `problem` says what is wrong, `fix` what to write. */
export type Read<T> = { readonly value: T } | { readonly problem: string; readonly fix: string };

const UNITS: ReadonlyMap<string, bigint> = new Map([
  ['', 1n],
  ['Ki', 1n << 10n],
  ['Mi', 1n << 20n],
  ['Gi', 1n << 30n],
  ['Ti', 1n << 40n],
]);
/** RLIM_INFINITY (sys/resource.h): no limit. */
export const RLIM_INFINITY = (1n << 64n) - 1n;

/** Reads bytes: a number, or one with Ki, Mi, Gi or Ti. */
export function readSize(written: unknown): Read<bigint> {
  const [whole, digits = '', unit = ''] = /^(\d{1,20})(Ki|Mi|Gi|Ti)?$/.exec(numberText(written)) ?? [];
  const value = BigInt(digits) * (UNITS.get(unit) ?? 1n);
  if (whole === undefined || value >= RLIM_INFINITY)
    return bad(written, 'a size', 'write bytes, or a number with Ki, Mi, Gi or Ti');
  return { value };
}

/** Reads a whole number. */
export function readCount(written: unknown): Read<bigint> {
  const text = numberText(written);
  if (!/^\d{1,19}$/.test(text)) return bad(written, 'a count', 'write a whole number');
  return { value: BigInt(text) };
}

/** Reads CPUs as thousandths: `500m`, `1.5`, `2`. */
export function readCpu(written: unknown): Read<bigint> {
  const text = numberText(written);
  const thousandths = /^(\d{1,9})m$/.exec(text)?.[1];
  const [whole, ones = '', part = ''] = /^(\d{1,6})(?:\.(\d{1,3}))?$/.exec(text) ?? [];
  const value =
    thousandths !== undefined ? BigInt(thousandths) : BigInt(ones) * 1000n + BigInt(part.padEnd(3, '0'));
  if ((thousandths === undefined && whole === undefined) || value === 0n)
    return bad(written, 'a number of CPUs', 'write 2, 1.5 or 500m');
  return { value };
}

function numberText(written: unknown): string {
  return typeof written === 'number' || typeof written === 'string' ? String(written) : '';
}

function bad(written: unknown, what: string, fix: string): { problem: string; fix: string } {
  return { problem: `${JSON.stringify(written)} is not ${what}`, fix };
}

const PROTOCOLS: readonly NetworkProtocol[] = ['icmp', 'sctp', 'tcp', 'udp'];
const ALL_PORTS = { low: 0, high: 65535 };

export type Ports = Pick<NetworkRule, 'ports' | 'protocol'>;

/** Reads ports: `5432/tcp`, `8000-8080/tcp`, `53/udp`, `icmp`, `tcp` (all its ports). */
export function readPorts(written: unknown): Read<Ports> {
  const fix = 'write a port, or two with a dash, and /tcp, /udp or /sctp; or a protocol alone: icmp';
  const [whole, low, high, name] =
    /^(?:(\d{1,5})(?:-(\d{1,5}))?\/)?(tcp|udp|sctp|icmp)$/.exec(typeof written === 'string' ? written : '') ??
    [];
  const protocol = PROTOCOLS.find((known) => known === name);
  if (whole === undefined || protocol === undefined) return bad(written, 'ports of a protocol', fix);
  if (low === undefined) return { value: { protocol, ports: ALL_PORTS } };
  if (protocol === 'icmp') return { problem: 'icmp has no ports', fix: 'write icmp' };
  const ports = { low: Number(low), high: Number(high ?? low) };
  if (ports.high > 65535 || ports.low > ports.high)
    return bad(written, 'a range of ports', 'write the lower port first, and none above 65535');
  return { value: { protocol, ports } };
}

export const EVERY_PORT: readonly Ports[] = PROTOCOLS.map((protocol) => ({ protocol, ports: ALL_PORTS }));
export const EVERYWHERE: readonly string[] = ['0.0.0.0/0', '::/0'];

/** Reads a CIDR and returns its canonical text. A plain address is a block of one address. */
export function readCidr(written: unknown): Read<string> {
  const text = typeof written === 'string' ? written : '';
  const full = text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`;
  const block = parseCidr(full);
  if (block !== undefined) return { value: `${formatAddress(block.family, block.address)}/${block.prefix}` };
  const [host = '', prefix = ''] = full.split('/');
  const bits = host.includes(':') ? 128 : 32;
  const single = parseCidr(`${host}/${bits}`);
  if (single !== undefined && /^\d{1,3}$/.test(prefix) && Number(prefix) < bits) {
    const kept = BigInt(bits - Number(prefix));
    const first = formatAddress(single.family, (single.address >> kept) << kept);
    return { problem: `${text} has bits set beyond its first ${prefix}`, fix: `write ${first}/${prefix}` };
  }
  return bad(written, 'a block of addresses', 'write an IPv4 or IPv6 address, or CIDR such as 10.0.0.0/8');
}

/** Returns rules of peers and ports in their simplest order. */
export function networkRules(cidrs: readonly string[], ports: readonly Ports[]): NetworkRule[] {
  return sortedRules(cidrs.flatMap((cidr) => ports.map((of) => ({ cidr, ...of }))));
}

export function sortedRules(rules: readonly NetworkRule[]): NetworkRule[] {
  const key = ({ cidr, protocol, ports }: NetworkRule): string =>
    `${cidr} ${protocol} ${ports.low}-${ports.high}`;
  const byKey = new Map(rules.map((rule) => [key(rule), rule]));
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, rule]) => rule);
}
