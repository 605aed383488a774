import {
  attribute,
  attributesOf,
  elementsOf,
  nested,
  text,
  textOf,
  u32,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
} from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import type { Attributes, Received } from '../protocol/wire.ts';
import {
  IFLA_ADDRESS,
  IFLA_ALT_IFNAME,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NET_NS_FD,
  IFLA_PROMISCUITY,
  IFLA_PROP_LIST,
  IFLA_TXQLEN,
  RTM_DELLINKPROP,
  RTM_NEWLINKPROP,
} from './message-numbers.ts';
import { getLink, linkRequest, listLinks } from './links.ts';
import type { Link, LinkName } from './links.ts';

/** rtnetlink: settings of one link, read and changed. Source: linux/if_link.h, linux/if.h. */

/** Flags of a link that a setting turns on or off (linux/if.h). */
export const linkFlags = { up: 0x1, promiscuous: 0x100, allMulticast: 0x200 } as const;

export interface LinkSettings extends Omit<
  Link,
  'group' | 'peerNamespace' | 'portState' | 'hairpin' | 'isolated'
> {
  readonly queueLength: number;
  readonly allMulticast: boolean;
  /** Further names, by which the link is found as by its own. Empty before Linux 5.5. */
  readonly alternativeNames: readonly string[];
  /** IFLA_INFO_DATA: attributes of the link type. */
  readonly data: Attributes;
}

function readSettings(message: Received): LinkSettings {
  const attributes = attributesOf(message.body, 16);
  const number = (type: number): number => attributes.get(type)?.readUInt32LE(0) ?? 0;
  const info = attributesOf(attributes.get(IFLA_LINKINFO) ?? Buffer.alloc(0));
  const flags = message.body.readUInt32LE(8);
  return {
    index: message.body.readInt32LE(4),
    name: textOf(attributes.get(IFLA_IFNAME)),
    kind: textOf(info.get(IFLA_INFO_KIND)),
    up: (flags & linkFlags.up) !== 0,
    mac: macText(attributes.get(IFLA_ADDRESS) ?? Buffer.alloc(0)),
    mtu: number(IFLA_MTU),
    master: number(IFLA_MASTER),
    peer: number(IFLA_LINK),
    queueLength: number(IFLA_TXQLEN),
    alias: textOf(attributes.get(IFLA_IFALIAS)),
    promiscuous: (flags & linkFlags.promiscuous) !== 0 || number(IFLA_PROMISCUITY) > 0,
    allMulticast: (flags & linkFlags.allMulticast) !== 0,
    alternativeNames: elementsOf(attributes.get(IFLA_PROP_LIST)).map(textOf),
    data: attributesOf(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0)),
  };
}

/** Returns a MAC address as `02:00:5e:00:53:01`. */
export const macText = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString('hex')
    .replace(/..(?=.)/g, '$&:');

/** The address of a bridge that was never given one, and has no port. */
export const noMac = '00:00:00:00:00:00';

/** Returns the bytes of a MAC address, such as `02:00:00:00:00:01`. */
export const macBytes = (mac: string): Buffer => Buffer.from(mac.replaceAll(':', ''), 'hex');

/** Returns a link by name or index, or undefined if there is none. */
export function findLink(socket: NetlinkSocket, by: LinkName): LinkSettings | undefined {
  // ERANGE: the name is longer than any valid name.
  const answer = socket.find(getLink(by), 'ENODEV', 'ERANGE');
  return answer === undefined ? undefined : readSettings(answer);
}

/** Lists all links with their settings. */
export function listSettings(socket: NetlinkSocket): LinkSettings[] {
  return socket.dump(listLinks).map(readSettings);
}

/** Returns the request that sets or clears a flag of a link. */
export function setFlag(index: number, flag: keyof typeof linkFlags, on: boolean): Request {
  const bit = linkFlags[flag];
  return linkRequest(`${on ? 'set' : 'clear'} the flag ${flag} of the link`, { index }, [], {
    flags: on ? bit : 0,
    change: bit,
  });
}

/** Returns the request that sets the MAC address of a link. */
export const setMac = (index: number, mac: string): Request =>
  linkRequest('set the MAC address of the link', { index }, [attribute(IFLA_ADDRESS, macBytes(mac))]);

/** Returns the request that sets the MTU of a link. */
export const setMtu = (index: number, mtu: number): Request =>
  linkRequest('set the MTU of the link', { index }, [attribute(IFLA_MTU, u32(mtu))]);

/** Returns the request that sets the length of the transmit queue of a link, in packets. */
export const setQueueLength = (index: number, length: number): Request =>
  linkRequest('set the transmit queue length of the link', { index }, [attribute(IFLA_TXQLEN, u32(length))]);

/** Works only while the link is down, on kernels before 6.2. */
export const rename = (index: number, name: string): Request =>
  linkRequest(`rename the link to ${name}`, { index }, [attribute(IFLA_IFNAME, text(name))]);

/**
 * Moves the link to another namespace and renames it there. The name need not be free here. The link arrives
 * down.
 */
export const moveLink = (index: number, netnsFd: number, name: string): Request =>
  linkRequest(`move the link to another namespace as ${name}`, { index }, [
    attribute(IFLA_NET_NS_FD, u32(netnsFd)),
    attribute(IFLA_IFNAME, text(name)),
  ]);

const nameList = (names: readonly string[]): Buffer =>
  nested(IFLA_PROP_LIST, ...names.map((name) => attribute(IFLA_ALT_IFNAME, text(name))));

/** Returns the request that gives a link further names. Refused (EEXIST) if a link has one of them. */
export const addAlternativeNames = (index: number, names: readonly string[]): Request => ({
  ...linkRequest('add names to the link', { index }, [nameList(names)], { type: RTM_NEWLINKPROP }),
  flags: NLM_F_EXCL | NLM_F_CREATE | NLM_F_APPEND,
});

/** Returns the request that takes further names from a link. */
export const deleteAlternativeNames = (index: number, names: readonly string[]): Request =>
  linkRequest('delete names of the link', { index }, [nameList(names)], { type: RTM_DELLINKPROP });
