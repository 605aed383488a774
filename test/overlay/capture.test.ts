import assert from 'node:assert/strict';
import { test } from 'node:test';
import { kindOfPacket } from './capture.ts';

const address = (last: number): Buffer => Buffer.of(192, 0, 2, last);
const packet = (protocol: number, content: Buffer): Buffer =>
  Buffer.concat([
    Buffer.of(0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0),
    address(11),
    address(12),
    content,
  ]);
const datagram = (port: number, message: number): Buffer => {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(port, 0);
  head.writeUInt16BE(port, 2);
  return packet(17, Buffer.concat([head, Buffer.of(message, 0, 0, 0), Buffer.alloc(60, 7)]));
};
const unreachable = (quoted: Buffer): Buffer =>
  packet(1, Buffer.concat([Buffer.of(3, 3, 0, 0, 0, 0, 0, 0), quoted]));
const kindOf = (bytes: Buffer): string => kindOfPacket(bytes, true, new Set([51_820])).replace(/: .*/u, '');

test('a message of a tunnel is recognized, also when refused; other refused packets are reported', () => {
  assert.equal(kindOf(datagram(51_820, 4)), 'wireguard');
  assert.equal(kindOf(unreachable(datagram(51_820, 4))), 'wireguard refused');
  assert.equal(kindOf(datagram(51_820, 9)), 'protocol 17');
  assert.equal(kindOf(unreachable(datagram(51_820, 9))), 'protocol 1');
  assert.equal(kindOf(unreachable(datagram(7000, 4))), 'protocol 1');
  assert.equal(kindOf(unreachable(datagram(4789, 4))), 'protocol 1');
  const segment = packet(6, Buffer.concat([Buffer.of(0x09, 0x4b, 0xc0, 0x00), Buffer.alloc(40)]));
  assert.equal(kindOf(segment), 'etcd');
  assert.equal(kindOf(unreachable(segment)), 'etcd refused');
});
