/** IPv4 packets with a UDP datagram between a DHCP client and a server. Pure. */

export interface Datagram {
  readonly from: number;
  readonly to: number;
  readonly payload: Buffer;
}

export const serverPort = 67;
export const clientPort = 68;
const [ipLength, udpLength] = [20, 8];
const udp = 17;

function checksum(...parts: readonly Buffer[]): number {
  let sum = 0;
  for (const part of parts)
    for (let at = 0; at < part.length; at += 2) sum += part.readUInt8(at) * 256 + (part[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return ~sum & 0xffff;
}

/** Returns the packet of a client, or of a server for a test. */
export function encodeDatagram(
  { from, to, payload }: Datagram,
  [sourcePort, targetPort]: readonly [number, number] = [clientPort, serverPort],
): Buffer {
  const ip = Buffer.alloc(ipLength);
  ip[0] = 0x45;
  // Network control, as other clients do.
  ip[1] = 0xc0;
  ip.writeUInt16BE(ipLength + udpLength + payload.length, 2);
  ip[8] = 64;
  ip[9] = udp;
  ip.writeUInt32BE(from, 12);
  ip.writeUInt32BE(to, 16);
  ip.writeUInt16BE(checksum(ip), 10);
  const header = Buffer.alloc(udpLength);
  header.writeUInt16BE(sourcePort, 0);
  header.writeUInt16BE(targetPort, 2);
  header.writeUInt16BE(udpLength + payload.length, 4);
  const pseudo = Buffer.concat([ip.subarray(12, 20), Buffer.of(0, udp), header.subarray(4, 6)]);
  header.writeUInt16BE(checksum(pseudo, header, payload) || 0xffff, 6);
  return Buffer.concat([ip, header, payload]);
}

/**
 * Returns the datagram of an IPv4 packet to a port, or undefined if it is none. The checksum of UDP is not
 * verified: between links of one host it is often not computed.
 */
export function decodeDatagram(packet: Buffer, port = clientPort): Datagram | undefined {
  if (packet.length < ipLength + udpLength) return undefined;
  const header = (packet.readUInt8(0) & 0x0f) * 4;
  const total = packet.readUInt16BE(2);
  const isFragment = (packet.readUInt16BE(6) & 0x3fff) !== 0;
  if (packet.readUInt8(0) >>> 4 !== 4 || header < ipLength || packet[9] !== udp || isFragment)
    return undefined;
  if (total > packet.length || total < header + udpLength) return undefined;
  const datagram = packet.subarray(header, total);
  const length = datagram.readUInt16BE(4);
  if (datagram.readUInt16BE(2) !== port || length < udpLength || length > datagram.length) return undefined;
  return {
    from: packet.readUInt32BE(12),
    to: packet.readUInt32BE(16),
    payload: datagram.subarray(udpLength, length),
  };
}
