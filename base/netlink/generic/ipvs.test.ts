import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { NETLINK_GENERIC } from '../../kernel/index.ts';
import { familyNumber, getFamily } from './genl.ts';
import { ipvsRequests, readDestination, readService, readTimeouts } from './ipvs.ts';
import type { IpvsDestination, IpvsService } from './ipvs.ts';
import { openNetlink } from '../protocol/socket.ts';

const requests = ipvsRequests(0x25);
const plain = (bytes: Uint8Array): number[] => [...bytes];

const family = fc.constantFrom<2 | 10>(2, 10);
const port = fc.integer({ min: 1, max: 65535 });
const addressOf = (of: 2 | 10): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: of === 2 ? 4 : 16, maxLength: of === 2 ? 4 : 16 });
const key = family.chain((of) =>
  fc.oneof(
    fc.record(
      { family: fc.constant(of), protocol: fc.constantFrom(6, 17, 132), address: addressOf(of), port },
      { noNullPrototype: true },
    ),
    fc.record(
      { family: fc.constant(of), mark: fc.integer({ min: 1, max: 0xffffffff }) },
      { noNullPrototype: true },
    ),
  ),
);
const service: fc.Arbitrary<IpvsService> = fc.record(
  {
    key,
    scheduler: fc.constantFrom('rr', 'wrr', 'wlc', 'sh', 'mh'),
    flags: fc.constantFrom(0, 1, 8, 0x19),
    timeoutSeconds: fc.nat({ max: 1_000_000 }),
  },
  { noNullPrototype: true },
);

const comparable = (value: IpvsService | undefined): unknown =>
  value === undefined
    ? undefined
    : {
        ...value,
        key: 'mark' in value.key ? value.key : { ...value.key, address: plain(value.key.address) },
      };

test('a service is unchanged after encoding and decoding', () => {
  fc.assert(
    fc.property(service, (given) => {
      for (const request of [requests.newService(given), requests.setService(given)])
        assert.deepEqual(comparable(readService({ body: Buffer.from(request.body) })), comparable(given));
    }),
  );
});

test('a destination is unchanged after encoding and decoding', () => {
  fc.assert(
    fc.property(
      key.chain((of) =>
        fc.tuple(
          fc.constant(of),
          fc.record<IpvsDestination>(
            {
              address: addressOf(of.family),
              port,
              forwarding: fc.constantFrom('masquerade', 'direct', 'tunnel'),
              weight: fc.nat({ max: 65535 }),
            },
            { noNullPrototype: true },
          ),
        ),
      ),
      ([of, given]) => {
        const read = readDestination(
          { body: Buffer.from(requests.newDestination(of, given).body) },
          of.family,
        );
        assert.deepEqual(
          { ...read, address: plain(read?.address ?? new Uint8Array()) },
          { ...given, address: plain(given.address), active: 0, inactive: 0, connections: 0n },
        );
      },
    ),
  );
});

test('timeouts are unchanged after encoding and decoding', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(), fc.nat(), (tcp, tcpFin, udp) => {
      assert.deepEqual(readTimeouts({ body: Buffer.from(requests.setTimeouts({ tcp, tcpFin, udp }).body) }), {
        tcp,
        tcpFin,
        udp,
      });
    }),
  );
});

test('any bytes are read without an exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      const body = Buffer.from(noise);
      readService({ body });
      readDestination({ body }, 2);
      readTimeouts({ body });
    }),
  );
});

/** Written by hand from the header: codecs that agree with each other may still be wrong. */
test('a service has the layout of linux/ip_vs.h', () => {
  const { body, type } = requests.newService({
    key: { family: 2, protocol: 6, address: Buffer.of(10, 0, 0, 1), port: 80 },
    scheduler: 'rr',
    flags: 0,
    timeoutSeconds: 0,
  });
  assert.equal(type, 0x25);
  assert.equal(
    Buffer.from(body).toString('hex'),
    [
      '01010000', // genlmsghdr: IPVS_CMD_NEW_SERVICE, version 1
      '54000180', // IPVS_CMD_ATTR_SERVICE, nested
      '0600010002000000', // AF: AF_INET
      '0600020006000000', // PROTOCOL: TCP
      '140003000a000001000000000000000000000000', // ADDR: 16 bytes
      '0600040000500000', // PORT: 80, network order
      '0700060072720000', // SCHED_NAME
      '0c00070000000000ffffffff', // FLAGS: flags, mask
      '0800080000000000', // TIMEOUT
      '08000900ffffffff', // NETMASK
    ].join(''),
  );
});

test('a family is looked up by its name, and an invented name is not found', () => {
  const generic = openNetlink(NETLINK_GENERIC);
  try {
    assert.equal(familyNumber(generic, 'nlctrl'), 16);
    assert.equal(familyNumber(generic, 'no such'), undefined);
    assert.equal(getFamily('IPVS').on, 'IPVS');
  } finally {
    generic.close();
  }
});
