import { existsSync } from 'node:fs';
import {
  NETLINK_GET_STRICT_CHK,
  NETLINK_ROUTE,
  SOL_NETLINK,
  setSockOpt,
} from '../../../base/kernel/index.ts';
import {
  isRefusal,
  createLink,
  deleteLink,
  loopbackIndex,
  lookUp,
  setNoOwnIpv6,
  setUp,
  deleteAddress,
  lookUpRoute,
  listAddresses,
  listHostAddresses,
  mainTable,
  putAddress,
  openNetlink,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  attribute,
  attributesOf,
  u32,
} from '../../../base/netlink/index.ts';
import type { NetlinkSocket, Request } from '../../../base/netlink/index.ts';
import { serviceLink } from '../model/model.ts';

export interface ServiceLink {
  /** Whether the link exists, with any addresses. */
  stands(): boolean;
  /** Creates the link if it is missing. */
  make(): void;
  /** Returns the addresses of the link, of 4 or 16 bytes. */
  addresses(): Buffer[];
  add(addresses: readonly Uint8Array[]): void;
  remove(addresses: readonly Uint8Array[]): void;
  /**
   * Sets, for each address, the host address that new connections of the host itself use as their source.
   * Without it, such a connection uses the virtual address itself as its source and ends with that address.
   * IPv4 only: for IPv6 the kernel accepts no other source.
   */
  sourcesFor(sources: readonly (readonly [address: Uint8Array, source: Uint8Array])[]): void;
  /** Returns the host's address that faces `destination`, or undefined if there is no route to it. */
  facing(destination: Uint8Array): Buffer | undefined;
  /**
   * Whether the host already has the address. Looks at routes, so the cost does not depend on the number of
   * addresses.
   */
  isOfHost(address: Uint8Array): boolean;
  /** Returns addresses that other links have, as hexadecimal digits. */
  elsewhere(): ReadonlySet<string>;
  /** Deletes the link with all its addresses. A missing link is not an error. */
  delete(): void;
  /** Returns the indexes of links through which hosts are reached without a gateway. */
  onLink(): number[];
  close(): void;
}

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
const RTN_UNICAST = 1;
const RTN_LOCAL = 2;
const RT_TABLE_LOCAL = 255;
const RTPROT_KERNEL = 2;
const RT_SCOPE_HOST = 254;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PREFSRC = 7;
const RTA_TABLE = 15;

function mainRoutes(family: 2 | 10): Request {
  const header = Buffer.alloc(12); // struct rtmsg
  header.writeUInt8(family, 0);
  return {
    what: 'list the routes of table main',
    on: '',
    type: RTM_GETROUTE,
    body: Buffer.concat([header, attribute(RTA_TABLE, u32(mainTable))]),
  };
}

function localRoute(index: number, address: Uint8Array): Buffer {
  const header = Buffer.of(
    2,
    address.length * 8,
    0,
    0,
    RT_TABLE_LOCAL,
    RTPROT_KERNEL,
    RT_SCOPE_HOST,
    RTN_LOCAL,
    0,
    0,
    0,
    0,
  ); // struct rtmsg
  return Buffer.concat([header, attribute(RTA_DST, address), attribute(RTA_OIF, u32(index))]);
}

/** Replaces the route that came with the address: same destination, same table. */
const putLocalRoute = (index: number, address: Uint8Array, source: Uint8Array): Request => ({
  what: 'set the source of the local route',
  on: serviceLink,
  type: RTM_NEWROUTE,
  flags: NLM_F_CREATE | NLM_F_REPLACE,
  body: Buffer.concat([localRoute(index, address), attribute(RTA_PREFSRC, source)]),
});

/** Deletes the route whatever its source. Refused (ESRCH) if the route does not exist. */
const deleteLocalRoute = (index: number, address: Uint8Array): Request => ({
  what: 'delete the local route',
  on: serviceLink,
  type: RTM_DELROUTE,
  body: localRoute(index, address),
});

/** Limits one message: the answers to all its requests wait in the socket together. */
const perMessage = 4096;

function* inParts<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += perMessage) yield all.slice(at, at + perMessage);
}

const isIpv4 = (address: Uint8Array): boolean => address.length === 4;

export function openServiceLink(): ServiceLink {
  const route = openNetlink(NETLINK_ROUTE);
  // The kernel then lists the routes of one table only: the local table has every virtual address.
  setSockOpt(route.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
  const addressing = openNetlink(NETLINK_ROUTE);
  const families = existsSync('/proc/sys/net/ipv6') ? ([2, 10] as const) : ([2] as const);
  const link = (): number | undefined => lookUp(addressing, { name: serviceLink })?.index;

  const tolerant = (
    socket: NetlinkSocket,
    requests: readonly Request[],
    ...fine: readonly string[]
  ): void => {
    for (const { error } of socket.send(requests)) if (!isRefusal(error, ...fine)) throw error;
  };

  const make = (): void => {
    if (link() === undefined) addressing.run([createLink({ name: serviceLink, of: { kind: 'dummy' } })]);
    // Without a link-local address, so that the link sends nothing by itself.
    if (families.length === 2) tolerant(addressing, [setNoOwnIpv6({ name: serviceLink })], 'EAFNOSUPPORT');
    addressing.run([setUp({ name: serviceLink })]);
  };

  return {
    stands: () => link() !== undefined,
    make,
    addresses() {
      const index = link();
      return index === undefined
        ? []
        : listAddresses(addressing, index).map(({ address }) => Buffer.from(address));
    },
    add(addresses) {
      if (addresses.length === 0) return;
      if (link() === undefined) make();
      const index = link() ?? 0;
      for (const some of inParts(addresses))
        addressing.run(
          some.map((address) =>
            putAddress(index, { address, length: address.length * 8 }, { prefixRoute: false }),
          ),
        );
    },
    remove(addresses) {
      const index = link();
      if (index === undefined) return;
      for (const some of inParts(addresses))
        tolerant(
          addressing,
          some.map((address) => deleteAddress(index, address, address.length * 8)),
          'EADDRNOTAVAIL',
          'ENODEV',
        );
      // A route whose source was changed is not removed with its address (fib_del_ifaddr).
      for (const some of inParts(addresses.filter(isIpv4)))
        tolerant(
          addressing,
          some.map((address) => deleteLocalRoute(index, address)),
          'ESRCH',
          'ENODEV',
        );
    },
    sourcesFor(sources) {
      const index = link();
      if (index === undefined) return;
      for (const some of inParts(sources))
        addressing.run(some.map(([address, source]) => putLocalRoute(index, address, source)));
    },
    facing(destination) {
      const answer = addressing.find(lookUpRoute(destination), 'ENETUNREACH', 'EHOSTUNREACH');
      return answer === undefined ? undefined : attributesOf(answer.body, 12).get(RTA_PREFSRC);
    },
    isOfHost(address) {
      const answer = addressing.find(lookUpRoute(address), 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL');
      return answer?.body.readUInt8(7) === RTN_LOCAL;
    },
    elsewhere() {
      const own = link();
      return new Set(
        listHostAddresses(addressing).flatMap(({ index, address }) =>
          index === own ? [] : [Buffer.from(address).toString('hex')],
        ),
      );
    },
    delete() {
      tolerant(addressing, [deleteLink({ name: serviceLink })], 'ENODEV');
    },
    onLink() {
      const indexes = new Set<number>();
      for (const family of families)
        for (const { body } of route.dump(mainRoutes(family))) {
          const attributes = attributesOf(body, 12);
          const index = attributes.get(RTA_OIF)?.readUInt32LE(0) ?? 0;
          if (body.readUInt8(7) === RTN_UNICAST && !attributes.has(RTA_GATEWAY) && index > loopbackIndex)
            indexes.add(index);
        }
      return [...indexes].toSorted((a, b) => a - b);
    },
    close() {
      route.close();
      addressing.close();
    },
  };
}
