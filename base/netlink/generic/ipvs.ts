import { genlBody, genlHeader } from './genl.ts';
import type { Request } from '../protocol/socket.ts';
import {
  attribute,
  attributesOf,
  be16,
  nested,
  NLM_F_ACK,
  text,
  textOf,
  u16,
  u32,
} from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';

/**
 * IPVS over generic netlink: services, destinations, timeouts. Pure. Source: linux/ip_vs.h. Ports are in
 * network order, everything else in the machine's.
 */

export const ipvsFamilyName = 'IPVS';
const version = 1;

const commands = {
  newService: 1,
  setService: 2,
  delService: 3,
  getService: 4,
  newDestination: 5,
  setDestination: 6,
  delDestination: 7,
  getDestination: 8,
  setConfig: 12,
  getConfig: 13,
} as const;

const IPVS_CMD_ATTR_SERVICE = 1;
const IPVS_CMD_ATTR_DEST = 2;
const IPVS_CMD_ATTR_TIMEOUT_TCP = 4;
const IPVS_CMD_ATTR_TIMEOUT_TCP_FIN = 5;
const IPVS_CMD_ATTR_TIMEOUT_UDP = 6;

const svc = {
  af: 1,
  protocol: 2,
  address: 3,
  port: 4,
  mark: 5,
  scheduler: 6,
  flags: 7,
  timeout: 8,
  netmask: 9,
  stats64: 12,
} as const;
const dest = {
  address: 1,
  port: 2,
  forwarding: 3,
  weight: 4,
  upper: 5,
  lower: 6,
  active: 7,
  inactive: 8,
  family: 11,
  stats64: 12,
} as const;
const IPVS_STATS_ATTR_CONNS = 1;

/** IP_VS_SVC_F_*. The scheduler defines `sched1` and `sched2`: sh and mh use them as fallback and port. */
export const ipvsFlags = { persistent: 0x1, hashed: 0x2, fallback: 0x8, byPort: 0x10 } as const;
/** A bit that only the kernel sets, on every existing service. It is not part of a request. */
const ownFlags = ipvsFlags.hashed;
const forwardingNumbers = { masquerade: 0, local: 1, tunnel: 2, direct: 3, bypass: 4 } as const;
const IP_VS_CONN_F_FWD_MASK = 7;

export type IpvsForwarding = keyof typeof forwardingNumbers;

/** Selects a service: by address, protocol and port, or by the mark of the packet. */
export type IpvsServiceKey =
  | {
      readonly family: 2 | 10;
      readonly protocol: number;
      readonly address: Uint8Array;
      readonly port: number;
    }
  | { readonly family: 2 | 10; readonly mark: number };

export interface IpvsService {
  readonly key: IpvsServiceKey;
  /** IPVS's name: rr, wrr, wlc, sh, mh … */
  readonly scheduler: string;
  /** Flags of {@link ipvsFlags}, combined with or. */
  readonly flags: number;
  /** Seconds of persistence; 0 without. */
  readonly timeoutSeconds: number;
}

export interface IpvsDestination {
  /** 4 or 16 bytes. */
  readonly address: Uint8Array;
  readonly port: number;
  readonly forwarding: IpvsForwarding;
  readonly weight: number;
}

/** A destination as the kernel lists it. */
export interface ListedDestination extends IpvsDestination {
  readonly active: number;
  readonly inactive: number;
  /** Since the destination was created. */
  readonly connections: bigint;
}

/** In seconds; 0 leaves a timeout unchanged. */
export interface IpvsTimeouts {
  readonly tcp: number;
  readonly tcpFin: number;
  readonly udp: number;
}

/** union nf_inet_addr: an IPv4 address is its first four bytes. */
function wideAddress(address: Uint8Array): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.set(address);
  return bytes;
}

function keyAttributes(key: IpvsServiceKey): Buffer[] {
  const family = attribute(svc.af, u16(key.family));
  return 'mark' in key
    ? [family, attribute(svc.mark, u32(key.mark))]
    : [
        family,
        attribute(svc.protocol, u16(key.protocol)),
        attribute(svc.address, wideAddress(key.address)),
        attribute(svc.port, be16(key.port)),
      ];
}

/** Returns a key as text for messages: `10.0.0.1:80/6` with the address as bytes, or `mark 7`. */
const named = (key: IpvsServiceKey): string =>
  'mark' in key
    ? `mark ${key.mark}`
    : `${key.family === 2 ? key.address.join('.') : Buffer.from(key.address).toString('hex')} port ${key.port} protocol ${key.protocol}`;

/** The full mask: each client is one address. */
const clientMask = { 2: Buffer.alloc(4, 0xff), 10: u32(128) } as const;

function serviceAttributes({ key, scheduler, flags, timeoutSeconds }: IpvsService): Buffer {
  // struct ip_vs_flags: the flags, and the mask of the flags that apply.
  return nested(
    IPVS_CMD_ATTR_SERVICE,
    ...keyAttributes(key),
    attribute(svc.scheduler, text(scheduler)),
    attribute(svc.flags, Buffer.concat([u32(flags), u32(0xffffffff)])),
    attribute(svc.timeout, u32(timeoutSeconds)),
    attribute(svc.netmask, clientMask[key.family]),
  );
}

function destinationAttributes(family: 2 | 10, destination: IpvsDestination): Buffer {
  return nested(
    IPVS_CMD_ATTR_DEST,
    attribute(dest.address, wideAddress(destination.address)),
    attribute(dest.port, be16(destination.port)),
    attribute(dest.forwarding, u32(forwardingNumbers[destination.forwarding])),
    attribute(dest.weight, u32(destination.weight)),
    attribute(dest.upper, u32(0)),
    attribute(dest.lower, u32(0)),
    attribute(dest.family, u16(family)),
  );
}

/** Requests for one resolved family number. */
export interface IpvsRequests {
  newService(service: IpvsService): Request;
  setService(service: IpvsService): Request;
  deleteService(key: IpvsServiceKey): Request;
  /** Gets one service. Refused (ESRCH) if it does not exist. Read by {@link readService}. */
  getService(key: IpvsServiceKey): Request;
  /** For a dump. */
  listServices(): Request;
  newDestination(key: IpvsServiceKey, destination: IpvsDestination): Request;
  setDestination(key: IpvsServiceKey, destination: IpvsDestination): Request;
  deleteDestination(key: IpvsServiceKey, destination: Pick<IpvsDestination, 'address' | 'port'>): Request;
  /** For a dump. Read by {@link readDestination}. An unknown service has none. */
  listDestinations(key: IpvsServiceKey): Request;
  getTimeouts(): Request;
  setTimeouts(timeouts: IpvsTimeouts): Request;
}

/**
 * Returns the requests of IPVS.
 * @param family the kernel's number for `IPVS` (`familyNumber` of genl.ts)
 */
export function ipvsRequests(family: number): IpvsRequests {
  const request = (
    what: string,
    on: string,
    command: keyof typeof commands,
    ...attributes: readonly Buffer[]
  ): Request => ({
    what,
    on,
    type: family,
    flags: NLM_F_ACK,
    body: Buffer.concat([genlHeader(commands[command], version), ...attributes]),
  });
  const byKey = (
    what: string,
    key: IpvsServiceKey,
    command: keyof typeof commands,
    ...more: readonly Buffer[]
  ): Request =>
    request(what, named(key), command, nested(IPVS_CMD_ATTR_SERVICE, ...keyAttributes(key)), ...more);
  return {
    newService: (service) =>
      request('add the IPVS service', named(service.key), 'newService', serviceAttributes(service)),
    setService: (service) =>
      request('change the IPVS service', named(service.key), 'setService', serviceAttributes(service)),
    deleteService: (key) => byKey('delete the IPVS service', key, 'delService'),
    getService: (key) => ({ ...byKey('look up the IPVS service', key, 'getService'), flags: 0 }),
    listServices: () => ({ ...request('list the IPVS services', '', 'getService'), flags: 0 }),
    newDestination: (key, destination) =>
      byKey('add an IPVS destination', key, 'newDestination', destinationAttributes(key.family, destination)),
    setDestination: (key, destination) =>
      byKey(
        'change an IPVS destination',
        key,
        'setDestination',
        destinationAttributes(key.family, destination),
      ),
    deleteDestination: (key, { address, port }) =>
      byKey(
        'delete an IPVS destination',
        key,
        'delDestination',
        nested(
          IPVS_CMD_ATTR_DEST,
          attribute(dest.address, wideAddress(address)),
          attribute(dest.port, be16(port)),
          attribute(dest.family, u16(key.family)),
        ),
      ),
    listDestinations: (key) => ({ ...byKey('list the IPVS destinations', key, 'getDestination'), flags: 0 }),
    getTimeouts: () => ({ ...request('read the IPVS time-outs', '', 'getConfig'), flags: 0 }),
    setTimeouts: ({ tcp, tcpFin, udp }) =>
      request(
        'set the IPVS time-outs',
        `tcp ${tcp} s`,
        'setConfig',
        attribute(IPVS_CMD_ATTR_TIMEOUT_TCP, u32(tcp)),
        attribute(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, u32(tcpFin)),
        attribute(IPVS_CMD_ATTR_TIMEOUT_UDP, u32(udp)),
      ),
  };
}

const number32 = (value: Buffer | undefined): number =>
  value === undefined || value.length < 4 ? 0 : value.readUInt32LE(0);
const number16 = (value: Buffer | undefined): number =>
  value === undefined || value.length < 2 ? 0 : value.readUInt16LE(0);
const port16 = (value: Buffer | undefined): number =>
  value === undefined || value.length < 2 ? 0 : value.readUInt16BE(0);
const narrow = (family: number, wide: Buffer | undefined): Buffer =>
  Buffer.from((wide ?? Buffer.alloc(16)).subarray(0, family === 2 ? 4 : 16));

/** Returns undefined if the message has no service, or the family is neither IPv4 nor IPv6. */
export function readService(message: Pick<Received, 'body'>): IpvsService | undefined {
  const outer = genlBody(message.body).attributes.get(IPVS_CMD_ATTR_SERVICE);
  if (outer === undefined) return undefined;
  const fields = attributesOf(outer);
  const family = number16(fields.get(svc.af));
  if (family !== 2 && family !== 10) return undefined;
  const mark = number32(fields.get(svc.mark));
  return {
    key:
      mark !== 0
        ? { family, mark }
        : {
            family,
            protocol: number16(fields.get(svc.protocol)),
            address: narrow(family, fields.get(svc.address)),
            port: port16(fields.get(svc.port)),
          },
    scheduler: textOf(fields.get(svc.scheduler)),
    flags: number32(fields.get(svc.flags)) & ~ownFlags,
    timeoutSeconds: number32(fields.get(svc.timeout)),
  };
}

const forwardings = new Map<number, IpvsForwarding>(
  Object.entries(forwardingNumbers).map(([name, value]) => [value, name as IpvsForwarding]),
);

/**
 * Reads a listed destination; undefined for a message without one.
 * @param family the family of its service, which older kernels do not repeat
 */
export function readDestination(
  message: Pick<Received, 'body'>,
  family: 2 | 10,
): ListedDestination | undefined {
  const outer = genlBody(message.body).attributes.get(IPVS_CMD_ATTR_DEST);
  if (outer === undefined) return undefined;
  const fields = attributesOf(outer);
  const counted = attributesOf(fields.get(dest.stats64) ?? Buffer.alloc(0)).get(IPVS_STATS_ATTR_CONNS);
  return {
    address: narrow(number16(fields.get(dest.family)) || family, fields.get(dest.address)),
    port: port16(fields.get(dest.port)),
    forwarding:
      forwardings.get(number32(fields.get(dest.forwarding)) & IP_VS_CONN_F_FWD_MASK) ?? 'masquerade',
    weight: number32(fields.get(dest.weight)),
    active: number32(fields.get(dest.active)),
    inactive: number32(fields.get(dest.inactive)),
    connections: counted?.length === 8 ? counted.readBigUInt64LE(0) : 0n,
  };
}

/** Reads the timeouts of connections. */
export function readTimeouts(message: Pick<Received, 'body'>): IpvsTimeouts {
  const { attributes } = genlBody(message.body);
  return {
    tcp: number32(attributes.get(IPVS_CMD_ATTR_TIMEOUT_TCP)),
    tcpFin: number32(attributes.get(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN)),
    udp: number32(attributes.get(IPVS_CMD_ATTR_TIMEOUT_UDP)),
  };
}
