import type { Host } from './hosts.ts';

/** Number of the VXLAN of the hosts. */
const vni = 1;

/** Returns the UDP payload of a VXLAN packet to a host, whose inner packet has any source address. */
export const forgedFrame = (host: Host, from: string, to: string, text: string): Buffer =>
  Buffer.concat([
    Buffer.of(0x08, 0, 0, 0, 0, 0, vni, 0),
    macOf(/portcullis-vx.* link\/ether (\S+)/u.exec(host.run('ip -o link'))?.[1] ?? '02:00:00:00:00:01'),
    Buffer.from('020000000099', 'hex'),
    Buffer.of(8, 0),
    datagram(from, to, text),
  ]);

const macOf = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');

/** An IPv4 packet with a UDP datagram to port 7000, its UDP checksum left out (RFC 768). */
function datagram(from: string, to: string, text: string): Buffer {
  const address = (dotted: string): Buffer => Buffer.from(dotted.split('.').map(Number));
  const header = Buffer.alloc(20);
  header.writeUInt8(0x45, 0);
  header.writeUInt16BE(28 + text.length, 2);
  header.writeUInt8(64, 8);
  header.writeUInt8(17, 9);
  address(from).copy(header, 12);
  address(to).copy(header, 16);
  let sum = 0;
  for (let at = 0; at < 20; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.writeUInt16BE(~sum & 0xffff, 10);
  const udp = Buffer.alloc(8);
  udp.writeUInt16BE(7000, 0);
  udp.writeUInt16BE(7000, 2);
  udp.writeUInt16BE(8 + text.length, 4);
  return Buffer.concat([header, udp, Buffer.from(text)]);
}
