import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseIp, parsePrefix } from '../../addresses/index.ts';
import type { IpAddress, IpPrefix } from '../../addresses/index.ts';
import { noPresharedKey, readWireguard, wireguardRequests } from './wireguard.ts';
import { attribute, attributesOf, elementsOf, nested, u32 } from '../protocol/wire.ts';

const keyOf = (byte: number): string => Buffer.alloc(32, byte).toString('base64');
const hexOf = (byte: number): string => Buffer.alloc(32, byte).toString('hex');
const ip = (text: string): IpAddress => parseIp(text)!;
const prefix = (text: string): IpPrefix => parsePrefix(text)!;
const requests = wireguardRequests(30, 'wg0');
/** struct genlmsghdr of the command, and WGDEVICE_A_IFNAME `wg0`. */
const head = (command: number): string => `0${command}010000` + '08000200' + '77673000';

describe('requests, byte by byte (linux/wireguard.h)', () => {
  test('a query for a link', () => {
    const { type, body } = requests.getDevice();
    assert.equal(type, 30);
    assert.equal(Buffer.from(body).toString('hex'), head(0));
  });

  test('a private key and a port', () => {
    const [request, ...more] = requests.setDevice({ privateKey: keyOf(7), port: 51_820 });
    assert.equal(more.length, 0);
    assert.equal(
      Buffer.from(request!.body).toString('hex'),
      head(1) + '24000300' + hexOf(7) + '06000600' + '6cca0000',
    );
    assert.doesNotMatch(
      JSON.stringify({ what: request!.what, on: request!.on }),
      /BwcH/u,
      'no error text contains the private key',
    );
  });

  test('a peer of each family with its prefixes', () => {
    const [request] = requests.setDevice({
      peers: [
        {
          publicKey: keyOf(1),
          endpoint: { address: ip('192.0.2.7'), port: 51_820 },
          allowed: [prefix('10.128.7.0/24'), prefix('fd00:7::/64')],
          keepaliveSeconds: 25,
        },
      ],
    });
    const four = '1c000080' + '06000100' + '02000000' + '08000200' + '0a800700' + '05000300' + '18000000';
    const six =
      '28000080' +
      '06000100' +
      '0a000000' +
      '14000200' +
      'fd000007000000000000000000000000' +
      '05000300' +
      '40000000';
    const endpoint = '14000400' + '0200ca6c' + 'c0000207' + '0000000000000000';
    const peer =
      '24000100' +
      hexOf(1) +
      '08000300' +
      '02000000' +
      endpoint +
      '06000500' +
      '19000000' +
      '48000980' +
      four +
      six;
    const length = (bytes: number): string => Buffer.of(bytes & 255, bytes >> 8).toString('hex');
    const body = length(peer.length / 2 + 4) + '0080' + peer;
    assert.equal(
      Buffer.from(request!.body).toString('hex'),
      head(1) + length(body.length / 2 + 4) + '0880' + body,
    );
  });

  test('a firewall mark, and a peer whose preshared key is removed', () => {
    const [request] = requests.setDevice({
      mark: 0,
      peers: [{ publicKey: keyOf(1), presharedKey: noPresharedKey }],
    });
    assert.equal(
      Buffer.from(request!.body).toString('hex'),
      head(1) +
        '08000700' +
        '00000000' +
        '50000880' +
        '4c000080' +
        '24000100' +
        hexOf(1) +
        '24000200' +
        hexOf(0),
    );
  });

  test('a peer with an IPv6 address has no flow and no scope', () => {
    const [request] = requests.setDevice({
      peers: [{ publicKey: keyOf(1), endpoint: { address: ip('2001:db8::1'), port: 1 } }],
    });
    assert.match(
      Buffer.from(request!.body).toString('hex'),
      /200004000a0000010000000020010db800000000000000000000000100000000/u,
    );
  });

  test('a removed peer is marked, and absent fields stay unchanged', () => {
    const [removal] = requests.setDevice({ peers: [{ publicKey: keyOf(2), remove: true }] });
    assert.ok(
      Buffer.from(removal!.body)
        .toString('hex')
        .endsWith('24000100' + hexOf(2) + '08000300' + '01000000'),
    );
    const [keepalive] = requests.setDevice({ peers: [{ publicKey: keyOf(2), keepaliveSeconds: 0 }] });
    assert.ok(
      Buffer.from(keepalive!.body)
        .toString('hex')
        .endsWith('24000100' + hexOf(2) + '06000500' + '00000000'),
    );
  });

  test('many peers, and a peer with many prefixes, are split into short enough messages, and none is lost', () => {
    const many = Array.from({ length: 2000 }, (_, number) => ({
      publicKey: Buffer.from(String(number).padStart(32, '0')).toString('base64'),
      allowed: [prefix(`10.${128 + (number >> 8)}.${number & 255}.0/24`)],
      keepaliveSeconds: 25,
    }));
    const large = {
      publicKey: keyOf(9),
      allowed: Array.from({ length: 5000 }, (_, number) => prefix(`10.${number >> 8}.${number & 255}.0/24`)),
    };
    const messages = requests.setDevice({
      privateKey: keyOf(7),
      replacePeers: true,
      peers: [...many, large],
    });
    assert.ok(messages.length > 5 && messages.every(({ body }) => body.length < 64 * 1024));
    const found = new Map<string, number>();
    let replaced = 0;
    for (const [index, { body }] of messages.entries()) {
      const fields = attributesOf(Buffer.from(body), 4);
      assert.equal(fields.has(3), index === 0, 'the private key is in the first message');
      assert.equal(fields.has(5), index === 0, 'peers are replaced once');
      for (const element of elementsOf(fields.get(8))) {
        const peer = attributesOf(element);
        const key = peer.get(1)!.toString('base64');
        if (peer.has(3)) replaced += 1;
        found.set(key, (found.get(key) ?? 0) + elementsOf(peer.get(9)).length);
      }
    }
    assert.equal(found.size, 2001);
    assert.equal(found.get(keyOf(9)), 5000);
    assert.equal(replaced, 2001, 'a part that adds prefixes replaces none');
  });

  test('an invalid key gives no message', () => {
    assert.throws(() => requests.setDevice({ peers: [{ publicKey: 'AAAA', remove: true }] }), /32 bytes/u);
  });
});

describe('the kernel’s listing', () => {
  const peerOf = (key: number, ...attributes: readonly Buffer[]): Buffer =>
    nested(0, attribute(1, Buffer.alloc(32, key)), ...attributes);
  const allowedOf = (...prefixes: readonly string[]): Buffer =>
    nested(
      9,
      ...prefixes.map((text) => {
        const last = Buffer.from(text.slice(0, text.indexOf('/')).split('.').map(Number));
        return nested(
          0,
          attribute(1, Buffer.of(2, 0)),
          attribute(2, last),
          attribute(3, Buffer.of(Number(text.slice(text.indexOf('/') + 1)))),
        );
      }),
    );
  const message = (...attributes: readonly Buffer[]): { body: Buffer } => ({
    body: Buffer.concat([Buffer.of(0, 1, 0, 0), ...attributes]),
  });
  const handshake = Buffer.alloc(16);
  handshake.writeBigInt64LE(1_700_000_000n, 0);
  handshake.writeBigInt64LE(250_000_000n, 8);
  const counted = (value: bigint): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  };

  test('a peer whose prefixes continue in the next message is one peer', () => {
    const device = readWireguard([
      message(
        attribute(4, Buffer.alloc(32, 5)),
        attribute(6, Buffer.of(0x6c, 0xca)),
        attribute(7, u32(9)),
        nested(
          8,
          peerOf(
            1,
            attribute(2, Buffer.alloc(32, 3)),
            attribute(4, Buffer.from('0200ca6cc00002070000000000000000', 'hex')),
            attribute(5, Buffer.of(25, 0)),
            attribute(6, handshake),
            attribute(7, counted(12n)),
            attribute(8, counted(2n ** 40n)),
            allowedOf('10.0.0.0/24', '10.0.1.0/24'),
          ),
        ),
      ),
      message(
        nested(
          8,
          peerOf(1, allowedOf('10.0.2.0/24')),
          peerOf(2, attribute(2, Buffer.alloc(32)), attribute(10, u32(1))),
        ),
      ),
    ]);
    assert.deepEqual(device, {
      publicKey: keyOf(5),
      port: 51_820,
      mark: 9,
      peers: [
        {
          publicKey: keyOf(1),
          hasPresharedKey: true,
          endpoint: { address: ip('192.0.2.7'), port: 51_820 },
          allowed: ['10.0.0.0/24', '10.0.1.0/24', '10.0.2.0/24'].map(prefix),
          keepaliveSeconds: 25,
          lastHandshakeMs: 1_700_000_000_250,
          receivedBytes: 12,
          sentBytes: 2 ** 40,
        },
        {
          publicKey: keyOf(2),
          hasPresharedKey: false,
          allowed: [],
          keepaliveSeconds: 0,
          lastHandshakeMs: 0,
          receivedBytes: 0,
          sentBytes: 0,
        },
      ],
    });
  });

  test('a link without a key is read without a key, and truncated bytes are not read as peers', () => {
    assert.deepEqual(readWireguard([message(attribute(6, Buffer.of(0, 0)))]), {
      port: 0,
      mark: 0,
      peers: [],
    });
    const whole = message(nested(8, peerOf(1, allowedOf('10.0.0.0/24')))).body;
    for (let length = 0; length < whole.length; length += 1)
      assert.ok(readWireguard([{ body: whole.subarray(0, length) }]).peers.length <= 1);
  });
});
