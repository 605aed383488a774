import {
  attribute,
  attributesOf,
  nested,
  text,
  textOf,
  u32,
  u8,
  NLM_F_CREATE,
  NLM_F_EXCL,
  withoutCounters,
  zeros,
} from '../protocol/wire.ts';
import type { Received } from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import {
  IFLA_ADDRESS,
  IFLA_AF_SPEC,
  IFLA_BRPORT_ISOLATED,
  IFLA_BRPORT_MODE,
  IFLA_BRPORT_STATE,
  IFLA_GROUP,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INET6_ADDR_GEN_MODE,
  IFLA_INET_CONF,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_DATA,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_LINK_NETNSID,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_NUM_RX_QUEUES,
  IFLA_NUM_TX_QUEUES,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
} from './message-numbers.ts';

/** rtnetlink: links. Source: rtnetlink(7), linux/if_link.h, linux/if_bridge.h. */

const VETH_INFO_PEER = 1;
const IPV4_DEVCONF_ARP_NOTIFY = 22;
const IPV4_DEVCONF_ROUTE_LOCALNET = 26;
const IN6_ADDR_GEN_MODE_NONE = 1;

const AF_INET = 2;
const AF_INET6 = 10;
const IFF_UP = 0x1;
const IFF_PROMISC = 0x100;

export const loopbackIndex = 1;

/** struct ifinfomsg */
function linkHeader(options: { index?: number; flags?: number; change?: number } = {}): Buffer {
  const bytes = zeros(16);
  bytes.writeInt32LE(options.index ?? 0, 4);
  bytes.writeUInt32LE(options.flags ?? 0, 8);
  bytes.writeUInt32LE(options.change ?? 0, 12);
  return bytes;
}

/** Selects the link of a message: by index, or by name in the same batch that creates it. */
export type LinkName = { readonly index: number } | { readonly name: string };

/** Returns the header of a message about a link, and its name if it has no index yet. */
function target(link: LinkName, options: { flags?: number; change?: number } = {}): Buffer[] {
  return 'index' in link
    ? [linkHeader({ ...options, index: link.index })]
    : [linkHeader(options), attribute(IFLA_IFNAME, text(link.name))];
}

/**
 * Returns a message about one link, with the given attributes. Without a `type`, it changes the link.
 */
export function linkRequest(
  what: string,
  link: LinkName,
  attributes: readonly Uint8Array[] = [],
  { type = RTM_NEWLINK, ...header }: { type?: number; flags?: number; change?: number } = {},
): Request {
  const on = 'index' in link ? `#${link.index}` : link.name;
  return { what, on, type, body: Buffer.concat([...target(link, header), ...attributes]) };
}

export interface BridgeLink {
  readonly name: string;
  readonly mac: Uint8Array;
  readonly group: number;
  readonly mtu?: number;
}

/** Returns the request that creates a bridge. It fails if the name is taken. */
export function createBridge(bridge: BridgeLink): Request {
  return {
    what: 'create the bridge',
    on: bridge.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([
      linkHeader(),
      attribute(IFLA_IFNAME, text(bridge.name)),
      attribute(IFLA_ADDRESS, bridge.mac),
      attribute(IFLA_GROUP, u32(bridge.group)),
      ...(bridge.mtu === undefined ? [] : [attribute(IFLA_MTU, u32(bridge.mtu))]),
      nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text('bridge'))),
    ]),
  };
}

export interface VethPair {
  readonly name: string;
  readonly group: number;
  readonly mtu: number;
  /** Index of the bridge. */
  readonly master: number;
  /** The MAC address of the host's end. Absent: the kernel chooses. */
  readonly mac?: Uint8Array;
  readonly peer: {
    readonly name: string;
    readonly netnsFd: number;
    readonly mac: Uint8Array;
  };
}

/**
 * One queue in each direction. Otherwise the kernel creates one for each processor of the machine, at both
 * ends, and shows each in /sys, which takes a third of the time on two processors. Only XDP and `ethtool -L`
 * need more: a veth uses one of them.
 */
const oneQueue = [attribute(IFLA_NUM_TX_QUEUES, u32(1)), attribute(IFLA_NUM_RX_QUEUES, u32(1))];

/**
 * Creates both ends down: a peer that is created up is refused (ENOTCONN). The peer is created in its own
 * namespace.
 */
export function createVeth(pair: VethPair): Request {
  const peer = Buffer.concat([
    linkHeader(),
    ...oneQueue,
    attribute(IFLA_IFNAME, text(pair.peer.name)),
    attribute(IFLA_ADDRESS, pair.peer.mac),
    attribute(IFLA_MTU, u32(pair.mtu)),
    attribute(IFLA_NET_NS_FD, u32(pair.peer.netnsFd)),
  ]);
  return {
    what: 'create the link',
    on: pair.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([
      linkHeader(),
      attribute(IFLA_IFNAME, text(pair.name)),
      ...(pair.mac === undefined ? [] : [attribute(IFLA_ADDRESS, pair.mac)]),
      attribute(IFLA_MTU, u32(pair.mtu)),
      attribute(IFLA_GROUP, u32(pair.group)),
      attribute(IFLA_MASTER, u32(pair.master)),
      ...oneQueue,
      nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, text('veth')),
        nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer)),
      ),
    ]),
  };
}

/** Returns the request that brings up a link. */
export function setUp(link: LinkName): Request {
  return linkRequest('bring up the link', link, [], { flags: IFF_UP, change: IFF_UP });
}

/** Returns the request that takes down a link. */
export function setDown(link: LinkName): Request {
  return linkRequest('take down the link', link, [], { change: IFF_UP });
}

/** Returns the request that puts a link into promiscuous mode. */
export function setPromiscuous(link: LinkName): Request {
  return linkRequest('set promiscuous mode of the link', link, [], {
    flags: IFF_PROMISC,
    change: IFF_PROMISC,
  });
}

/**
 * Returns the request that puts a link on a bridge, or takes it from its bridge.
 * @param master index of the bridge, 0 to leave it
 */
export function setMaster(link: LinkName, master: number): Request {
  return linkRequest(master === 0 ? 'remove the link from its bridge' : 'put the link on its bridge', link, [
    attribute(IFLA_MASTER, u32(master)),
  ]);
}

/** Returns the request that turns a setting of IPv4 on: the sysctl `net.ipv4.conf.LINK.*`. */
const setIpv4 = (link: LinkName, what: string, setting: number): Request =>
  linkRequest(what, link, [
    nested(IFLA_AF_SPEC, nested(AF_INET, nested(IFLA_INET_CONF, attribute(setting, u32(1))))),
  ]);

/**
 * Lets 127.0.0.0/8 be routed over the link, which host ports on 127.0.0.1 need. The rules keep pods away from
 * it.
 */
export function setRouteLocalnet(link: LinkName): Request {
  return setIpv4(link, 'let the loopback network be routed over the link', IPV4_DEVCONF_ROUTE_LOCALNET);
}

/**
 * Makes the link announce its addresses to its neighbours when it comes up or changes its MAC address: the
 * sysctl `arp_notify`.
 */
export function setArpNotify(link: LinkName): Request {
  return setIpv4(link, 'make the link announce its addresses', IPV4_DEVCONF_ARP_NOTIFY);
}

/** Keeps IPv6 from generating addresses: see {@link setNoOwnIpv6}. */
export const noOwnIpv6Attribute = nested(
  IFLA_AF_SPEC,
  nested(AF_INET6, attribute(IFLA_INET6_ADDR_GEN_MODE, u8(IN6_ADDR_GEN_MODE_NONE))),
);

/**
 * Keeps IPv6 from generating addresses on the link, so it sends no packets of its own either. Refused at a
 * link's creation.
 */
export function setNoOwnIpv6(link: LinkName): Request {
  return linkRequest('keep IPv6 from generating addresses on the link', link, [noOwnIpv6Attribute]);
}

/** Returns the request that deletes a link. */
export function deleteLink(link: LinkName): Request {
  return linkRequest('delete the link', link, [], { type: RTM_DELLINK });
}

/** Deletes all links of a group at once, which takes two RCU grace periods for all instead of for each. */
export function deleteGroup(group: number): Request {
  return {
    what: 'delete the links of group',
    on: String(group),
    type: RTM_DELLINK,
    body: Buffer.concat([linkHeader(), attribute(IFLA_GROUP, u32(group))]),
  };
}

/** Returns the request that puts a link into a group. */
export function setGroup(link: LinkName, group: number): Request {
  return linkRequest('set the group of the link', link, [attribute(IFLA_GROUP, u32(group))]);
}

/**
 * Sets the alias that `ip link` shows; an empty one removes it. The kernel accepts it only for an existing
 * link, not at creation.
 */
export function setAlias(link: LinkName, alias: string): Request {
  return linkRequest('set the alias of the link', link, [
    attribute(IFLA_IFALIAS, alias === '' ? Buffer.alloc(0) : text(alias)),
  ]);
}

/** Returns the request that looks up a link. */
export function getLink(link: LinkName): Request {
  return linkRequest('look up the link', link, [withoutCounters], { type: RTM_GETLINK });
}

export const listLinks: Request = {
  what: 'list links',
  on: '',
  type: RTM_GETLINK,
  body: Buffer.concat([linkHeader(), withoutCounters]),
};

/** A link as the kernel describes it. */
export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
  readonly mtu: number;
  readonly mac: string;
  readonly group: number;
  /** Index of the bridge; 0 without one. */
  readonly master: number;
  /** Index of the link below or of the other end of a veth, in its own namespace; 0 without one. */
  readonly peer: number;
  /**
   * Number of the other end's namespace, in the namespace that was asked. Absent if both ends are in one
   * namespace.
   */
  readonly peerNamespace?: number;
  readonly kind: string;
  /** Empty: the link has no alias. */
  readonly alias: string;
  readonly promiscuous: boolean;
  /** For a bridge port: 3 is forwarding (linux/if_bridge.h). */
  readonly portState?: number;
  readonly hairpin?: boolean;
  readonly isolated?: boolean;
}

/** Reads the answer to {@link getLink}. */
export function readLink(message: Received): Link {
  const attributes = attributesOf(message.body, 16);
  const number = (type: number): number => attributes.get(type)?.readUInt32LE(0) ?? 0;
  const info = attributesOf(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const port = attributesOf(info.get(IFLA_INFO_SLAVE_DATA) ?? Buffer.alloc(0));
  const isPort = textOf(info.get(IFLA_INFO_SLAVE_KIND)) === 'bridge';
  const ofPort = (type: number): number | undefined => (isPort ? port.get(type)?.readUInt8(0) : undefined);
  const state = ofPort(IFLA_BRPORT_STATE);
  const peerNamespace = attributes.get(IFLA_LINK_NETNSID)?.readInt32LE(0);
  return {
    index: message.body.readInt32LE(4),
    name: textOf(attributes.get(IFLA_IFNAME)),
    up: (message.body.readUInt32LE(8) & IFF_UP) !== 0,
    mtu: number(IFLA_MTU),
    mac: (attributes.get(IFLA_ADDRESS) ?? Buffer.alloc(0)).toString('hex').replace(/..(?=.)/g, '$&:'),
    group: number(IFLA_GROUP),
    master: number(IFLA_MASTER),
    peer: number(IFLA_LINK),
    kind: textOf(info.get(IFLA_INFO_KIND)),
    alias: textOf(attributes.get(IFLA_IFALIAS)),
    promiscuous: (message.body.readUInt32LE(8) & IFF_PROMISC) !== 0,
    ...(state === undefined ? {} : { portState: state }),
    ...(peerNamespace === undefined ? {} : { peerNamespace }),
    ...(isPort
      ? { hairpin: ofPort(IFLA_BRPORT_MODE) === 1, isolated: ofPort(IFLA_BRPORT_ISOLATED) === 1 }
      : {}),
  };
}

/** Returns undefined if no link has this name or index. */
export function lookUp(route: NetlinkSocket, link: LinkName): Link | undefined {
  const answer = route.find(getLink(link), 'ENODEV');
  return answer === undefined ? undefined : readLink(answer);
}
