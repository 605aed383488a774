import { attribute, be16, nested, NLM_F_CREATE, NLM_F_EXCL, text, u16, u32, u8 } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';
import { linkRequest } from './links.ts';
import {
  IFLA_ADDRESS,
  IFLA_GROUP,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  RTM_NEWLINK,
} from './message-numbers.ts';

/**
 * rtnetlink: link types that are created on top of another link or for traffic. Source: linux/if_link.h,
 * ip-link(8).
 */

const VETH_INFO_PEER = 1;
const linkHeaderLength = 16;

export const macvlanModes = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;
export const ipvlanModes = { l2: 0, l3: 1, l3s: 2 } as const;

/** The settings that are specific to a link type. */
export type LinkKind =
  | { readonly kind: 'macvlan'; readonly mode: keyof typeof macvlanModes; readonly broadcastQueue?: number }
  | { readonly kind: 'ipvlan'; readonly mode: keyof typeof ipvlanModes }
  | { readonly kind: 'vlan'; readonly id: number }
  | { readonly kind: 'ifb' }
  /** Delivers nothing: it only holds addresses. */
  | { readonly kind: 'dummy' }
  /** Routes the traffic of its members by a table of their own. */
  | { readonly kind: 'vrf'; readonly table: number }
  /** Its key, port and peers are set over generic netlink: wireguard.ts. */
  | { readonly kind: 'wireguard' }
  | {
      readonly kind: 'vxlan';
      readonly id: number;
      readonly port: number;
      readonly learning: boolean;
      /** Answers ARP and neighbour solicitations from the neighbour table. */
      readonly proxy: boolean;
      /** 4 or 16 bytes. */
      readonly local?: Uint8Array;
      readonly group?: Uint8Array;
      readonly ttl?: number;
    };

function dataOf(kind: LinkKind): Buffer[] {
  switch (kind.kind) {
    case 'macvlan':
      return [
        attribute(1, u32(macvlanModes[kind.mode])),
        ...(kind.broadcastQueue === undefined ? [] : [attribute(7, u32(kind.broadcastQueue))]),
      ];
    case 'ipvlan':
      return [attribute(1, u16(ipvlanModes[kind.mode]))];
    case 'vlan':
      return [attribute(1, u16(kind.id))];
    case 'vrf':
      return [attribute(1, u32(kind.table))];
    case 'ifb':
    case 'dummy':
    case 'wireguard':
      return [];
    case 'vxlan':
      return [
        attribute(1, u32(kind.id)),
        ...(kind.group === undefined ? [] : [attribute(kind.group.length === 4 ? 2 : 16, kind.group)]),
        ...(kind.local === undefined ? [] : [attribute(kind.local.length === 4 ? 4 : 17, kind.local)]),
        ...(kind.ttl === undefined ? [] : [attribute(5, u8(kind.ttl))]),
        attribute(7, u8(kind.learning ? 1 : 0)),
        attribute(11, u8(kind.proxy ? 1 : 0)),
        attribute(15, be16(kind.port)),
      ];
  }
}

export interface NewLink {
  readonly name: string;
  readonly of: LinkKind;
  /** Index of the link below, in the namespace of the socket. */
  readonly parent?: number;
  /** Index of the bridge. */
  readonly master?: number;
  readonly mac?: Uint8Array;
  readonly mtu?: number;
  /** The link is created there instead of in the namespace of the socket. */
  readonly netnsFd?: number;
}

/**
 * Creates the link, which starts down. Its name must also be free in the namespace of the socket, even if the
 * link is created in another one, because the kernel looks there first.
 */
export function createLink(link: NewLink): Request {
  const data = dataOf(link.of);
  // A VXLAN names the link below in its own data, where it may be absent.
  const lower =
    link.parent === undefined ? [] : link.of.kind === 'vxlan' ? [attribute(3, u32(link.parent))] : [];
  return {
    what: `create the ${link.of.kind} link`,
    on: link.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([
      Buffer.alloc(linkHeaderLength),
      attribute(IFLA_IFNAME, text(link.name)),
      ...(link.parent === undefined || link.of.kind === 'vxlan'
        ? []
        : [attribute(IFLA_LINK, u32(link.parent))]),
      ...(link.master === undefined ? [] : [attribute(IFLA_MASTER, u32(link.master))]),
      ...(link.mac === undefined ? [] : [attribute(IFLA_ADDRESS, link.mac)]),
      ...(link.mtu === undefined ? [] : [attribute(IFLA_MTU, u32(link.mtu))]),
      ...(link.netnsFd === undefined ? [] : [attribute(IFLA_NET_NS_FD, u32(link.netnsFd))]),
      nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, text(link.of.kind)),
        nested(IFLA_INFO_DATA, ...lower, ...data),
      ),
    ]),
  };
}

/** Changes the mode of an existing link. The kernel refuses changes to and from `passthru`. */
export function changeMode(index: number, of: Extract<LinkKind, { readonly kind: 'macvlan' }>): Request {
  return linkRequest(`set the mode of the ${of.kind} link to ${of.mode}`, { index }, [
    nested(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text(of.kind)), nested(IFLA_INFO_DATA, ...dataOf(of))),
  ]);
}

export interface PairEnd {
  readonly name: string;
  readonly mac: Uint8Array;
}

/**
 * Creates a veth pair without a bridge: one end in the namespace of the socket, the other in `netnsFd`. Both
 * start down.
 */
export function createPair(
  host: PairEnd & { readonly group?: number },
  pod: PairEnd & { readonly netnsFd: number },
  mtu: number | undefined,
): Request {
  const ownMtu = mtu === undefined ? [] : [attribute(IFLA_MTU, u32(mtu))];
  const peer = Buffer.concat([
    Buffer.alloc(linkHeaderLength),
    attribute(IFLA_IFNAME, text(pod.name)),
    attribute(IFLA_ADDRESS, pod.mac),
    ...ownMtu,
    attribute(IFLA_NET_NS_FD, u32(pod.netnsFd)),
  ]);
  return {
    what: 'create the link',
    on: host.name,
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: Buffer.concat([
      Buffer.alloc(linkHeaderLength),
      attribute(IFLA_IFNAME, text(host.name)),
      attribute(IFLA_ADDRESS, host.mac),
      ...(host.group === undefined ? [] : [attribute(IFLA_GROUP, u32(host.group))]),
      ...ownMtu,
      nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, text('veth')),
        nested(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer)),
      ),
    ]),
  };
}
