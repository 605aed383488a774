import {
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
  closeFd,
  receiveWaiting,
  setSockOpt,
  socket,
} from '../../base/kernel/index.ts';

/**
 * Captures the packets between hosts: every frame of every link of this network namespace. Source: packet(7).
 */
export interface Capture {
  /**
   * Returns the number of packets by kind since the last call. A packet that belongs neither to a tunnel, nor
   * to etcd, nor to neighbours is named with its first bytes.
   */
  taken(): ReadonlyMap<string, number>;
  close(): void;
}

const AF_PACKET = 17;
const ETH_P_ALL = 0x0003;
const SO_RCVBUFFORCE = 33;
const everyMs = 10;
const bufferBytes = 64 * 1024 * 1024;

/** @param wireguardPorts the ports of all hosts */
export function startCapture(wireguardPorts: ReadonlySet<number>): Capture {
  const networkOrder = ((ETH_P_ALL & 0xff) << 8) | (ETH_P_ALL >> 8);
  const fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, networkOrder);
  setSockOpt(fd, SOL_SOCKET, SO_RCVBUFFORCE, bufferBytes);
  const frame = Buffer.allocUnsafeSlow(65_536);
  let seen = new Map<string, number>();
  const read = (): void => {
    for (;;) {
      const length = receiveWaiting(fd, frame);
      if (length === undefined) return;
      const kind = kindOf(frame.subarray(0, length), wireguardPorts);
      seen.set(kind, (seen.get(kind) ?? 0) + 1);
    }
  };
  const reading = setInterval(read, everyMs);
  return {
    taken() {
      read();
      const taken = seen;
      seen = new Map();
      return taken;
    },
    close() {
      clearInterval(reading);
      closeFd(fd);
    },
  };
}

/** Kinds that reveal nothing about pods. */
export const harmless: ReadonlySet<string> = new Set([
  'wireguard',
  'wireguard refused',
  'etcd',
  'etcd refused',
  'neighbours',
  'local',
]);

function kindOf(frame: Buffer, wireguardPorts: ReadonlySet<number>): string {
  const type = frame.readUInt16BE(12);
  if (type === 0x0806) return 'neighbours';
  if (type !== 0x0800 && type !== 0x86dd) return `ethertype ${type.toString(16)}`;
  return kindOfPacket(frame.subarray(14), type === 0x0800, wireguardPorts);
}

const ICMP = 1;
const UNREACHABLE = 3;
const icmpHeader = 8;

/** @param packet from its IP header on */
export function kindOfPacket(packet: Buffer, isFour: boolean, wireguardPorts: ReadonlySet<number>): string {
  const protocol = packet[isFour ? 9 : 6] ?? 0;
  const transport = packet.subarray(isFour ? ((packet[0] ?? 0) & 15) * 4 : 40);
  // Neighbour discovery and multicast groups of IPv6: from the unspecified address, or from link-local
  // addresses only.
  if (!isFour && (packet.readUInt16BE(8) === 0xfe80 || packet.subarray(8, 24).every((byte) => byte === 0)))
    return 'neighbours';
  const isLocal = isFour && packet[12] === 127;
  if (isLocal) return 'local';
  // A host whose tunnel was just removed answers with an ICMP error that quotes the received packet as it
  // was, encrypted. A host that finds an etcd host gone does the same.
  if (isFour && protocol === ICMP && transport[0] === UNREACHABLE && transport.length > icmpHeader + 32) {
    const quoted = kindOfPacket(transport.subarray(icmpHeader), true, wireguardPorts);
    if (quoted === 'wireguard' || quoted === 'etcd') return `${quoted} refused`;
  }
  const [from, to] = [transport.readUInt16BE(0), transport.readUInt16BE(2)];
  if (protocol === 6 && (from === 2379 || to === 2379)) return 'etcd';
  if (protocol === 17 && (from === 4789 || to === 4789)) return 'vxlan';
  // A message of a tunnel: its type, and three zero bytes.
  const [message = 0, ...reserved] = transport.subarray(8, 12);
  if (
    protocol === 17 &&
    wireguardPorts.has(from) &&
    wireguardPorts.has(to) &&
    message >= 1 &&
    message <= 4 &&
    reserved.every((byte) => byte === 0)
  )
    return 'wireguard';
  return `protocol ${protocol}: ${packet.subarray(0, 48).toString('hex')}`;
}
