import { isIPv4 } from 'node:net';
import { canonicalIp, parseIp } from '../../../base/addresses/index.ts';
import type { Backend, Protocol, Service } from '../model/model.ts';

/** Parses the short forms of a description. Pure. */

const seconds: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Returns `90s` or `5m` in seconds. The text must match the schema's pattern. */
export function secondsOf(text: string): number {
  return Number(text.slice(0, -1)) * (seconds[text.slice(-1)] ?? Number.NaN);
}

/** Parses `80`, `80/tcp` or `80:8080/udp`. The text must match the schema's pattern. */
export function shortPortOf(text: string): {
  readonly port: number;
  readonly targetPort: number;
  readonly protocol: Protocol;
} {
  const [numbers = '', protocol = 'tcp'] = text.split('/');
  const [port = '', target = port] = numbers.split(':');
  return { port: Number(port), targetPort: Number(target), protocol: protocol as Protocol };
}

export interface WrittenPlace {
  readonly address: string;
  readonly port?: number;
}

/** Parses `10.0.0.2`, `10.0.0.2:8080`, `fd00::2` or `[fd00::2]:8080`. */
export function placeOf(text: string): WrittenPlace {
  const bracketed = /^\[([^\]]*)\](?::(\d{1,5}))?$/u.exec(text);
  const plain = /^([^:]*):(\d{1,5})$/u.exec(text);
  const [, address = text, port] = bracketed ?? plain ?? [];
  return { address, ...(port !== undefined && { port: Number(port) }) };
}

/**
 * Returns why connections cannot lead to an address, or undefined if they can.
 * @param use the purpose of the address. `endpoint`: as Kubernetes accepts it (ValidateNonSpecialIP), without
 * the link-local addresses of IPv4, such as that of a cloud's metadata service
 */
export function wrongAddress(text: string, use: 'virtual' | 'backend' | 'endpoint'): string | undefined {
  // Thousands of backends are looked at in a row, and the first number of an IPv4 address says enough.
  const ip = isIPv4(text) ? Number.parseInt(text, 10) : parseIp(text)?.value;
  if (ip === undefined) return `${JSON.stringify(text)} is not an address`;
  if (use === 'endpoint' && text.startsWith('169.254.')) return `${text} is a link-local address`;
  const kind = typeof ip === 'number' ? unusable4(ip) : unusable6(ip);
  if (kind === undefined) return undefined;
  if (kind === 'a loopback address' && use === 'virtual')
    return `${text} is a loopback address, which packets from other hosts and pods cannot have`;
  return `${text} is ${kind}`;
}

/**
 * Returns why no connection can reach the backend: it is one of the virtual servers of its service, and a
 * connection is forwarded only once. At an external address, the host itself may serve the port.
 * @param backend its address, and those of the service, in canonical form
 */
export function servedByItself(
  { addresses, ports }: Pick<Service, 'addresses' | 'ports'>,
  { address, ports: own }: Backend,
): string | undefined {
  if (!addresses.includes(address)) return undefined;
  const numberOf = ({ name, targetPort }: Service['ports'][number]): number => own?.[name] ?? targetPort;
  const found = ports.find((port) =>
    ports.some(({ protocol, port: served }) => protocol === port.protocol && served === numberOf(port)),
  );
  return found && `${address} port ${numberOf(found)} is a virtual address and port of the service itself`;
}

/** Returns an address in its canonical form (RFC 5952). */
export function canonical(text: string): string {
  return canonicalIp(text) ?? text;
}

/**
 * Blocks of RFC 6890 to which no connection is made.
 * @param first the first byte of an IPv4 address
 */
function unusable4(first: number): string | undefined {
  if (first === 0) return 'not the address of a host';
  if (first === 127) return 'a loopback address';
  if (first >= 224 && first < 240) return 'a multicast address';
  return first >= 240 ? 'a reserved address' : undefined;
}

/** The same for IPv6. @param value the address as a number */
function unusable6(value: bigint): string | undefined {
  if (value === 0n) return 'not the address of a host';
  if (value === 1n) return 'a loopback address';
  if (value >> 120n === 0xffn) return 'a multicast address';
  if (value >> 118n === 0x3fan) return 'a link-local address';
  return value >> 32n === 0xffffn ? 'an IPv4-mapped IPv6 address' : undefined;
}

/** Names in a description of model fields that have another name there. */
const writtenNames: Readonly<Record<string, string>> = {
  persistenceSeconds: 'persistence',
  drainGraceSeconds: 'drainGrace',
};

/**
 * Returns a field of {@link Service}, such as `persistenceSeconds` or `addresses.0`, as its author wrote it:
 * `persistence`, `addresses.0`.
 */
export function writtenField(field: string): string {
  const [first = '', ...rest] = field.split('.');
  return [writtenNames[first] ?? first, ...rest].join('.');
}

/** Returns the field of a refusal in the notation of problems: `addresses[0]`. */
export const fieldText = (field: string): string => writtenField(field).replaceAll(/\.(\d+)/gu, '[$1]');
