import { NLM_F_CREATE, NLM_F_REPLACE, attribute, zeros } from './wire.ts';
import type { Request } from './socket.ts';

/** rtnetlink: which port of a bridge a MAC address is behind. Source: linux/neighbour.h, bridge(8). */

const RTM_NEWNEIGH = 28;
const AF_BRIDGE = 7;
const NDA_LLADDR = 2;
const NUD_NOARP = 0x40;
const NUD_REACHABLE = 0x02;
const NTF_MASTER = 0x04;

/**
 * The bridge knows the address behind this port for as long as the port is one: `bridge fdb replace MAC dev PORT master static`.
 * @param port index of the link
 */
export function holdAddress(port: number, mac: Uint8Array): Request {
  const header = zeros(12); // struct ndmsg
  header.writeUInt8(AF_BRIDGE, 0);
  header.writeInt32LE(port, 4);
  header.writeUInt16LE(NUD_NOARP | NUD_REACHABLE, 8);
  header.writeUInt8(NTF_MASTER, 10);
  return {
    what: 'tell the bridge what is behind the port',
    on: `#${port}`,
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    body: Buffer.concat([header, attribute(NDA_LLADDR, mac)]),
  };
}
