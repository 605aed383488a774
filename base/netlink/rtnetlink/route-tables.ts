import { formatIp, ipFromBytes } from '../../addresses/index.ts';
import {
  attribute,
  attributesOf,
  nested,
  u32,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  zeros,
} from '../protocol/wire.ts';
import type { Attributes, Received } from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import {
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_GETADDR,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_NEWADDR,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from './message-numbers.ts';

/**
 * rtnetlink: addresses and routes of one link as the kernel holds them, routing tables, policy rules. Source:
 * rtnetlink(7), linux/fib_rules.h.
 */

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_CACHEINFO = 6;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_NOPREFIXROUTE = 0x200;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_MULTIPATH = 9;
const RTA_TABLE = 15;
const RTAX_MTU = 2;
const RTAX_ADVMSS = 8;
const FRA_SRC = 2;
const FRA_PRIORITY = 6;
const FRA_TABLE = 15;
const FR_ACT_TO_TBL = 1;
const RTPROT_BOOT = 3;
const RTN_UNICAST = 1;
const RTNH_F_ONLINK = 4;
const RT_TABLE_UNSPEC = 0;
export const mainTable = 254;
export const routeScopes = { universe: 0, link: 253, host: 254, nowhere: 255 } as const;

const familyOf = (address: Uint8Array): number => (address.length === 4 ? 2 : 10);

export interface LinkAddress {
  readonly address: Uint8Array;
  readonly length: number;
  /** IPv6 only: duplicate address detection is running, or found a duplicate. */
  readonly detection?: 'under way' | 'duplicate';
}

/**
 * Adds an address. Also succeeds if it exists. IPv6 duplicate address detection is off unless requested,
 * because the addresses are ours.
 * @param options.isSource false: IPv6 connections of the host itself do not use it as source (RFC 6724,
 * section 5, rule 3)
 */
export function putAddress(
  index: number,
  own: LinkAddress,
  options: {
    readonly prefixRoute: boolean;
    readonly detectsDuplicates?: boolean;
    readonly isSource?: boolean;
  },
): Request {
  const header = zeros(8); // struct ifaddrmsg
  header.writeUInt8(familyOf(own.address), 0);
  header.writeUInt8(own.length, 1);
  header.writeUInt32LE(index, 4);
  const flags =
    (own.address.length === 16 && options.detectsDuplicates !== true ? IFA_F_NODAD : 0) |
    (options.prefixRoute ? 0 : IFA_F_NOPREFIXROUTE);
  const last = Buffer.from(own.address);
  // As ip-address(8) and the upstream plugins do: an IPv4 subnet has its broadcast address.
  const broadcast =
    own.address.length === 4 && own.length < 31 ? [attribute(4, broadcastOf(last, own.length))] : [];
  return {
    what: 'add an address to the link',
    on: `#${index}`,
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([
      header,
      attribute(IFA_LOCAL, own.address),
      attribute(IFA_ADDRESS, own.address),
      ...broadcast,
      ...(flags === 0 ? [] : [attribute(IFA_FLAGS, u32(flags))]),
      // struct ifa_cacheinfo: never preferred, valid forever.
      ...(options.isSource === false && own.address.length === 16
        ? [attribute(IFA_CACHEINFO, Buffer.concat([u32(0), u32(0xffff_ffff), u32(0), u32(0)]))]
        : []),
    ]),
  };
}

function broadcastOf(address: Buffer, length: number): Buffer {
  const bytes = zeros(4);
  const hostBits = length === 0 ? 0xffffffff : 2 ** (32 - length) - 1;
  bytes.writeUInt32BE((address.readUInt32BE(0) | hostBits) >>> 0);
  return bytes;
}

/** Lists the addresses of a link. */
export function listAddresses(socket: NetlinkSocket, index: number): LinkAddress[] {
  return readAddresses(socket, `#${index}`).flatMap(({ index: of, ...address }) =>
    of === index ? [address] : [],
  );
}

/** Returns the addresses of every link. */
export const listHostAddresses = (socket: NetlinkSocket): (LinkAddress & { readonly index: number })[] =>
  readAddresses(socket, '');

/** The request for all addresses. {@link readAddress} reads its answers. */
export const listEveryAddress: Request = {
  what: 'list addresses',
  on: '',
  type: RTM_GETADDR,
  body: Buffer.alloc(8),
};

const readAddresses = (socket: NetlinkSocket, on: string): (LinkAddress & { readonly index: number })[] =>
  socket.dump({ ...listEveryAddress, on }).flatMap(readAddress);

/** Reads a listed address; an empty list for a message without one. */
export function readAddress(message: Received): (LinkAddress & { readonly index: number })[] {
  const attributes = attributesOf(message.body, 8);
  const address = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS);
  if (address === undefined) return [];
  const index = message.body.readUInt32LE(4);
  const flags = attributes.get(IFA_FLAGS)?.readUInt32LE(0) ?? message.body.readUInt8(2);
  const detection =
    (flags & IFA_F_DADFAILED) !== 0 ? 'duplicate' : (flags & IFA_F_TENTATIVE) !== 0 ? 'under way' : undefined;
  return [
    { index, address, length: message.body.readUInt8(1), ...(detection === undefined ? {} : { detection }) },
  ];
}

export interface TableRoute {
  /** Index of the link by which packets leave. */
  readonly index: number;
  readonly destination: Uint8Array;
  readonly length: number;
  readonly table: number;
  readonly scope: number;
  readonly gateway?: Uint8Array;
  /** The gateway is on the link, whatever the link's addresses are. */
  readonly onLink?: boolean;
  readonly source?: Uint8Array;
  readonly priority?: number;
  readonly mtu?: number;
  readonly advmss?: number;
}

function routeBody(route: TableRoute, forDeletion: boolean): Buffer {
  const header = zeros(12); // struct rtmsg
  header.writeUInt8(familyOf(route.destination), 0);
  header.writeUInt8(route.length, 1);
  header.writeUInt8(route.table < 256 ? route.table : RT_TABLE_UNSPEC, 4);
  header.writeUInt8(forDeletion ? 0 : RTPROT_BOOT, 5);
  header.writeUInt8(forDeletion ? routeScopes.nowhere : route.scope, 6);
  header.writeUInt8(forDeletion ? 0 : RTN_UNICAST, 7);
  header.writeUInt32LE(route.onLink === true ? RTNH_F_ONLINK : 0, 8);
  const metrics = [
    ...(route.mtu === undefined ? [] : [attribute(RTAX_MTU, u32(route.mtu))]),
    ...(route.advmss === undefined ? [] : [attribute(RTAX_ADVMSS, u32(route.advmss))]),
  ];
  return Buffer.concat([
    header,
    ...(route.length === 0 ? [] : [attribute(RTA_DST, route.destination)]),
    ...(route.gateway === undefined ? [] : [attribute(RTA_GATEWAY, route.gateway)]),
    ...(route.source === undefined || forDeletion ? [] : [attribute(RTA_PREFSRC, route.source)]),
    ...(route.priority === undefined ? [] : [attribute(RTA_PRIORITY, u32(route.priority))]),
    ...(metrics.length === 0 || forDeletion ? [] : [nested(RTA_METRICS, ...metrics)]),
    attribute(RTA_TABLE, u32(route.table)),
    attribute(RTA_OIF, u32(route.index)),
  ]);
}

/** Returns the route in the words of an error. */
export function routeName(
  route: Pick<TableRoute, 'index' | 'destination' | 'length' | 'gateway'> & { readonly table?: number },
): string {
  const { index, destination, length, gateway, table = mainTable } = route;
  const ip = (bytes: Uint8Array): string => formatIp(ipFromBytes(bytes));
  const by = gateway === undefined ? '' : ` by ${ip(gateway)}`;
  const where = table === mainTable ? '' : ` in the table ${table}`;
  return `${ip(destination)}/${length}${by} on the link #${index}${where}`;
}

const routeRequest = (
  what: string,
  type: number,
  flags: number,
  route: TableRoute,
  body: Buffer,
): Request => ({
  what,
  on: routeName(route),
  type,
  flags,
  body,
});

/**
 * Adds a route. Refused (EEXIST) if exactly this route exists. Several gateways to one destination share the
 * traffic.
 */
export const appendRoute = (route: TableRoute): Request =>
  routeRequest('add the route', RTM_NEWROUTE, NLM_F_CREATE, route, routeBody(route, false));

/** Replaces another route to the same destination. */
export const replaceRoute = (route: TableRoute): Request =>
  routeRequest(
    'replace the route',
    RTM_NEWROUTE,
    NLM_F_CREATE | NLM_F_REPLACE,
    route,
    routeBody(route, false),
  );

/** Refused (ESRCH) if there is none. */
export const deleteRoute = (route: TableRoute): Request =>
  routeRequest('delete the route', RTM_DELROUTE, 0, route, routeBody(route, true));

/**
 * Returns unicast routes of every table. An IPv6 route with several next hops is one route for each hop: the
 * kernel merges routes that differ only in it. An IPv4 route with several next hops comes without its hops.
 */
export const listRoutes = (socket: NetlinkSocket): TableRoute[] =>
  socket.dump(listEveryRoute).flatMap(readRoute);

/** The request for all routes. {@link readRoute} reads its answers. */
export const listEveryRoute: Request = {
  what: 'list routes',
  on: '',
  type: RTM_GETROUTE,
  body: Buffer.alloc(12),
};

/** Reads a listed route; an empty list for one that is not unicast, not IP, or only cached. */
export function readRoute({ body }: Received): TableRoute[] {
  if (body.readUInt8(7) !== RTN_UNICAST || ![2, 10].includes(body.readUInt8(0))) return [];
  // The dump includes the cache of learnt IPv6 routes (RTM_F_CLONED).
  if ((body.readUInt32LE(8) & 0x200) !== 0) return [];
  const attributes = attributesOf(body, 12);
  const metrics = attributesOf(attributes.get(RTA_METRICS) ?? Buffer.alloc(0));
  const number = (from: Attributes, type: number): number | undefined => from.get(type)?.readUInt32LE(0);
  const gateway = attributes.get(RTA_GATEWAY);
  const source = attributes.get(RTA_PREFSRC);
  const priority = number(attributes, RTA_PRIORITY);
  const mtu = number(metrics, RTAX_MTU);
  const advmss = number(metrics, RTAX_ADVMSS);
  const isIpv4 = body.readUInt8(0) === 2;
  const route = {
    index: number(attributes, RTA_OIF) ?? 0,
    destination: attributes.get(RTA_DST) ?? Buffer.alloc(isIpv4 ? 4 : 16),
    length: body.readUInt8(1),
    table: number(attributes, RTA_TABLE) ?? body.readUInt8(4),
    scope: body.readUInt8(6),
    ...(gateway === undefined ? {} : { gateway }),
    ...(source === undefined ? {} : { source }),
    ...(priority === undefined ? {} : { priority }),
    ...(mtu === undefined ? {} : { mtu }),
    ...(advmss === undefined ? {} : { advmss }),
  };
  const hops = isIpv4 ? undefined : attributes.get(RTA_MULTIPATH);
  return hops === undefined ? [route] : hopsOf(hops).map((hop) => ({ ...route, ...hop }));
}

/** Reads a list of struct rtnexthop, each followed by its attributes. */
function hopsOf(list: Buffer): Pick<TableRoute, 'index' | 'gateway'>[] {
  const hops = [];
  for (let at = 0; at + 8 <= list.length;) {
    const length = list.readUInt16LE(at);
    if (length < 8 || at + length > list.length) break;
    const gateway = attributesOf(list.subarray(at + 8, at + length)).get(RTA_GATEWAY);
    hops.push({ index: list.readInt32LE(at + 4), ...(gateway === undefined ? {} : { gateway }) });
    at += (length + 3) & ~3;
  }
  return hops;
}

/** Packets from one address are routed by a table of their own. */
export interface SourceRule {
  readonly source: Uint8Array;
  readonly table: number;
}

function ruleRequest(what: string, type: number, flags: number, rule: SourceRule): Request {
  const header = zeros(12); // struct fib_rule_hdr
  header.writeUInt8(familyOf(rule.source), 0);
  header.writeUInt8(rule.source.length * 8, 2);
  header.writeUInt8(rule.table < 256 ? rule.table : RT_TABLE_UNSPEC, 4);
  header.writeUInt8(FR_ACT_TO_TBL, 7);
  return {
    what,
    on: `table ${rule.table}`,
    type,
    flags,
    body: Buffer.concat([header, attribute(FRA_SRC, rule.source), attribute(FRA_TABLE, u32(rule.table))]),
  };
}

/**
 * Adds a rule at a place that the kernel chooses: before every rule except the local one. The kernel accepts
 * the same rule twice.
 */
export const addSourceRule = (rule: SourceRule): Request =>
  ruleRequest('add a routing rule', RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);

/** Refused (ENOENT) if there is none. */
export const deleteSourceRule = (rule: SourceRule): Request =>
  ruleRequest('delete a routing rule', RTM_DELRULE, 0, rule);

export interface PolicyRule {
  readonly table: number;
  readonly priority: number;
  /** Absent: from any address or from a network. */
  readonly source?: Uint8Array;
}

/** Lists the rules that choose a routing table. */
export function listRoutingRules(socket: NetlinkSocket): PolicyRule[] {
  const request: Request = {
    what: 'list routing rules',
    on: '',
    type: RTM_GETRULE,
    body: Buffer.alloc(12),
  };
  return socket.dump(request).flatMap((message) => {
    const family = message.body.readUInt8(0);
    if (family !== 2 && family !== 10) return [];
    const attributes = attributesOf(message.body, 12);
    const source = attributes.get(FRA_SRC);
    return [
      {
        table: attributes.get(FRA_TABLE)?.readUInt32LE(0) ?? message.body.readUInt8(4),
        priority: attributes.get(FRA_PRIORITY)?.readUInt32LE(0) ?? 0,
        ...(source?.length === message.body.readUInt8(2) / 8 ? { source } : {}),
      },
    ];
  });
}
