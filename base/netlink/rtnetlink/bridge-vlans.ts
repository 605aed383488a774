import { attribute, attributesOf, nested, text, u32, u8, zeros } from '../protocol/wire.ts';
import type { NetlinkSocket, Request } from '../protocol/socket.ts';
import {
  IFLA_AF_SPEC,
  IFLA_BRIDGE_FLAGS,
  IFLA_BRIDGE_VLAN_INFO,
  IFLA_BR_VLAN_FILTERING,
  IFLA_EXT_MASK,
  IFLA_INFO_DATA,
  IFLA_INFO_KIND,
  IFLA_LINKINFO,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTM_SETLINK,
} from './message-numbers.ts';

/** VLANs of bridges and their ports. Source: linux/if_bridge.h, linux/if_link.h. */

const AF_BRIDGE = 7;
const BRIDGE_FLAGS_SELF = 2;
const BRIDGE_VLAN_INFO_PVID = 2;
const BRIDGE_VLAN_INFO_UNTAGGED = 4;
const RTEXT_FILTER_BRVLAN = 2;

function header(family: number, index: number): Buffer {
  const bytes = zeros(16); // struct ifinfomsg
  bytes.writeUInt8(family, 0);
  bytes.writeInt32LE(index, 4);
  return bytes;
}

/** A kernel without BRIDGE_VLAN_FILTERING accepts this and does nothing: see {@link filtersVlans}. */
export function setVlanFiltering(index: number): Request {
  return {
    what: 'turn on VLAN filtering of the bridge',
    on: `#${index}`,
    type: RTM_NEWLINK,
    body: Buffer.concat([
      header(0, index),
      nested(
        IFLA_LINKINFO,
        attribute(IFLA_INFO_KIND, text('bridge')),
        nested(IFLA_INFO_DATA, attribute(IFLA_BR_VLAN_FILTERING, u8(1))),
      ),
    ]),
  };
}

/** Returns whether a bridge filters by VLAN. */
export function filtersVlans(socket: NetlinkSocket, index: number): boolean {
  const answer = socket.ask({
    what: 'look up the bridge',
    on: `#${index}`,
    type: RTM_GETLINK,
    body: header(0, index),
  })[0];
  const info = attributesOf(
    answer === undefined
      ? Buffer.alloc(0)
      : (attributesOf(answer.body, 16).get(IFLA_LINKINFO) ?? Buffer.alloc(0)),
  );
  return (
    attributesOf(info.get(IFLA_INFO_DATA) ?? Buffer.alloc(0))
      .get(IFLA_BR_VLAN_FILTERING)
      ?.readUInt8(0) === 1
  );
}

export interface PortVlan {
  readonly id: number;
  /** Untagged frames belong to this VLAN, and its frames leave without a tag. */
  readonly untagged: boolean;
}

function vlanInfo({ id, untagged }: PortVlan): Buffer {
  const info = Buffer.alloc(4); // struct bridge_vlan_info
  info.writeUInt16LE(untagged ? BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED : 0, 0);
  info.writeUInt16LE(id, 2);
  return attribute(IFLA_BRIDGE_VLAN_INFO, info);
}

const flagsOf = (self: boolean): Buffer[] => {
  const flags = Buffer.alloc(2);
  flags.writeUInt16LE(BRIDGE_FLAGS_SELF);
  return self ? [attribute(IFLA_BRIDGE_FLAGS, flags)] : [];
};

/**
 * Returns the request that adds VLANs to a port of a bridge.
 * @param self for the bridge itself instead of a port
 */
export function addVlans(index: number, vlans: readonly PortVlan[], self = false): Request {
  return {
    what: 'add VLANs to the bridge port',
    on: `#${index}`,
    type: RTM_SETLINK,
    body: Buffer.concat([
      header(AF_BRIDGE, index),
      nested(IFLA_AF_SPEC, ...flagsOf(self), ...vlans.map(vlanInfo)),
    ]),
  };
}

/** Returns the request that removes a VLAN from a port of a bridge. */
export function deleteVlan(index: number, id: number): Request {
  return {
    what: `remove VLAN ${id} from the bridge port`,
    on: `#${index}`,
    type: RTM_DELLINK,
    body: Buffer.concat([header(AF_BRIDGE, index), nested(IFLA_AF_SPEC, vlanInfo({ id, untagged: false }))]),
  };
}

/** Returns the VLANs of one port. */
export function listVlans(socket: NetlinkSocket, index: number): PortVlan[] {
  const body = Buffer.concat([header(AF_BRIDGE, 0), attribute(IFLA_EXT_MASK, u32(RTEXT_FILTER_BRVLAN))]);
  const port = socket
    .dump({ what: 'list VLANs', on: '', type: RTM_GETLINK, body })
    .find((message) => message.body.readInt32LE(4) === index);
  const spec = port === undefined ? undefined : attributesOf(port.body, 16).get(IFLA_AF_SPEC);
  const found: PortVlan[] = [];
  // Every VLAN has an attribute of the same type, so they are walked and not looked up.
  for (let at = 0; spec !== undefined && at + 4 <= spec.length;) {
    const length = spec.readUInt16LE(at);
    if (length < 4 || at + length > spec.length) break;
    if ((spec.readUInt16LE(at + 2) & 0x3fff) === IFLA_BRIDGE_VLAN_INFO && length >= 8) {
      const pvid = BRIDGE_VLAN_INFO_PVID | BRIDGE_VLAN_INFO_UNTAGGED;
      found.push({ id: spec.readUInt16LE(at + 6), untagged: (spec.readUInt16LE(at + 4) & pvid) === pvid });
    }
    at += (length + 3) & ~3;
  }
  return found;
}
