import { NLM_F_CREATE, NLM_F_REPLACE, attribute, zeros } from '../protocol/wire.ts';
import type { Request } from '../protocol/socket.ts';
import { RTM_NEWMDB, RTM_NEWNEIGH } from './message-numbers.ts';

/**
 * rtnetlink: the MAC addresses and multicast groups behind the ports of a bridge. Sources: linux/neighbour.h,
 * linux/if_bridge.h, bridge(8).
 */

const MDBA_SET_ENTRY = 1;
const MDB_PERMANENT = 1;
const ETH_P_IPV6 = 0x86dd;
const AF_BRIDGE = 7;
const NDA_LLADDR = 2;
const NUD_NOARP = 0x40;
const NUD_REACHABLE = 0x02;
const NTF_MASTER = 0x04;

/**
 * Adds the MAC address to the bridge's forwarding database for as long as the port is on the bridge: `bridge
 * fdb replace MAC dev PORT master static`.
 * @param port index of the link
 */
export function holdAddress(port: number, mac: Uint8Array): Request {
  const header = zeros(12); // struct ndmsg
  header.writeUInt8(AF_BRIDGE, 0);
  header.writeInt32LE(port, 4);
  header.writeUInt16LE(NUD_NOARP | NUD_REACHABLE, 8);
  header.writeUInt8(NTF_MASTER, 10);
  return {
    what: 'add the MAC address behind the bridge port',
    on: `#${port}`,
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([header, attribute(NDA_LLADDR, mac)]),
  };
}

/**
 * Makes the bridge send neighbour solicitations for this IPv6 address to the port for as long as the port is
 * on the bridge, whatever the pod's kernel reports (RFC 4291, section 2.7.1: the solicited-node group of the
 * address): `bridge mdb add dev BRIDGE port PORT grp GROUP permanent`. A bridge without multicast snooping
 * refuses it (EINVAL).
 * @param bridge index of the link, as `port`
 */
export function holdSolicitedNode(bridge: number, port: number, address: Uint8Array): Request {
  const header = zeros(8); // struct br_port_msg
  header.writeUInt8(AF_BRIDGE, 0);
  header.writeUInt32LE(bridge, 4);
  const entry = zeros(28); // struct br_mdb_entry
  entry.writeUInt32LE(port, 0);
  entry.writeUInt8(MDB_PERMANENT, 4);
  Buffer.from('ff0200000000000000000001ff', 'hex').copy(entry, 8);
  Buffer.from(address.slice(13, 16)).copy(entry, 21);
  entry.writeUInt16BE(ETH_P_IPV6, 24);
  return {
    what: 'add the multicast group of the bridge port',
    on: `#${port}`,
    type: RTM_NEWMDB,
    flags: NLM_F_CREATE,
    body: Buffer.concat([header, attribute(MDBA_SET_ENTRY, entry)]),
  };
}
