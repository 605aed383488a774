import { NLM_F_CREATE, NLM_F_REPLACE, attribute, attributesOf, u32, zeros } from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';
import { routeName } from './route-tables.ts';
import { RTM_DELADDR, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWROUTE } from './message-numbers.ts';

/** rtnetlink: addresses and routes. Source: rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h. */

const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const AF_INET = 2;
const AF_INET6 = 10;

const familyOf = (address: Uint8Array): number => (address.length === 4 ? AF_INET : AF_INET6);

const addressRequest = (
  what: string,
  type: number,
  flags: number,
  { index, address, length }: { index: number; address: Uint8Array; length: number },
  more: readonly Buffer[] = [],
): Request => {
  const header = zeros(8); // struct ifaddrmsg
  header.writeUInt8(familyOf(address), 0);
  header.writeUInt8(length, 1);
  header.writeUInt32LE(index, 4);
  return {
    what,
    on: `#${index}`,
    type,
    flags,
    body: Buffer.concat([header, attribute(IFA_LOCAL, address), attribute(IFA_ADDRESS, address), ...more]),
  };
};

/**
 * Adds an address. An IPv6 address is usable at once: there is no duplicate address detection, because the
 * addresses are ours.
 * @param address 4 or 16 bytes
 */
export function addAddress(index: number, address: Uint8Array, length: number): Request {
  const noDetection = address.length === 16 ? [attribute(IFA_FLAGS, u32(IFA_F_NODAD))] : [];
  const flags = NLM_F_CREATE | NLM_F_REPLACE;
  return addressRequest(
    'add an address to the link',
    RTM_NEWADDR,
    flags,
    { index, address, length },
    noDetection,
  );
}

/**
 * `fe80::1`: the source of a gateway's neighbour solicitations. Without a link-local address, the kernel
 * sends no solicitation for a packet that comes from elsewhere (RFC 4861, section 7.2.2), and our bridges
 * generate none themselves.
 */
const gatewayLinkLocal = Buffer.from('fe800000000000000000000000000001', 'hex');

/** Adds the link-local address of a bridge that is an IPv6 gateway. */
export const addGatewayLinkLocal = (index: number): Request => addAddress(index, gatewayLinkLocal, 64);

/** Refused (EADDRNOTAVAIL) if the address does not exist. */
export function deleteAddress(index: number, address: Uint8Array, length: number): Request {
  return addressRequest('delete an address of the link', RTM_DELADDR, 0, { index, address, length });
}

export interface LinkRoute {
  readonly index: number;
  readonly destination: Uint8Array;
  readonly prefixLength: number;
  readonly gateway?: Uint8Array;
}

/** Returns the request that adds a route to the main table. */
export function addRoute(route: LinkRoute): Request {
  const header = zeros(12); // struct rtmsg
  header.writeUInt8(familyOf(route.destination), 0);
  header.writeUInt8(route.prefixLength, 1);
  header.writeUInt8(RT_TABLE_MAIN, 4);
  header.writeUInt8(RTPROT_BOOT, 5);
  header.writeUInt8(route.gateway === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, 6);
  header.writeUInt8(RTN_UNICAST, 7);
  return {
    what: 'add the route',
    on: routeName({ ...route, length: route.prefixLength }),
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([
      header,
      ...(route.prefixLength === 0 ? [] : [attribute(RTA_DST, route.destination)]),
      ...(route.gateway === undefined ? [] : [attribute(RTA_GATEWAY, route.gateway)]),
      attribute(RTA_OIF, u32(route.index)),
    ]),
  };
}

/** Requests the route by which a packet to `destination` would leave. */
export function lookUpRoute(destination: Uint8Array): Request {
  const header = zeros(12);
  header.writeUInt8(familyOf(destination), 0);
  header.writeUInt8(destination.length * 8, 1);
  return {
    what: 'look up the route',
    on: [...destination].join('.'),
    type: RTM_GETROUTE,
    body: Buffer.concat([header, attribute(RTA_DST, destination)]),
  };
}

/** Returns the index of the link by which the route leaves. */
export function readRouteLink(message: Received): number {
  return attributesOf(message.body, 12).get(RTA_OIF)?.readUInt32LE(0) ?? 0;
}
