import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { keyOf } from '../model/model.ts';
import type { VirtualServer } from '../model/model.ts';
import { openLedger } from './ledger.ts';
import {
  addressBytes,
  destinationChanges,
  destinationId,
  destinationsOf,
  isOurMark,
  nodePortMark,
  readKey,
  refuse,
  schedulerOf,
  serviceId,
  serviceKey,
  serviceOf,
} from './plan.ts';
import { webServer } from '../virtual-server.fixture.ts';

const plain: VirtualServer = {
  ...webServer,
  destinations: [{ address: '10.2.0.11', port: 8080, weight: 1 }],
};
const { address: _, ...nodePort } = { ...plain, kind: 'node' as const, port: 30080 };

for (const [scheduler, clientAffinity, name, flags] of [
  ['rr', false, 'rr', 0],
  ['wrr', false, 'wrr', 0],
  ['lc', false, 'wlc', 0],
  ['sh', false, 'sh', 8],
  ['sh', true, 'sh', 8],
  ['rr', true, 'mh', 8],
  ['wrr', true, 'mh', 8],
  ['maglev', true, 'mh', 8],
  ['maglev', false, 'mh', 0x18],
] as const)
  test(`${scheduler}${clientAffinity ? ' with client affinity' : ''} is IPVS's ${name}`, () => {
    assert.deepEqual(schedulerOf({ ...plain, scheduler, clientAffinity }), { name, flags });
  });

test('more weight than the table of sh has slots is hashed by mh, without the port of the client', () => {
  const weighing = (weight: number): VirtualServer => ({
    ...plain,
    scheduler: 'sh',
    destinations: [128, weight, 0].map((each, index) => ({
      address: `10.2.0.${index + 1}`,
      port: 8080,
      weight: each,
    })),
  });
  assert.deepEqual(schedulerOf(weighing(127)), { name: 'sh', flags: 8 });
  assert.deepEqual(schedulerOf(weighing(128)), { name: 'mh', flags: 8 });
});

test('persistence is a flag and a time', () => {
  assert.deepEqual(serviceOf({ ...plain, persistenceSeconds: 600 }), {
    key: { family: 2, protocol: 6, address: Buffer.of(10, 96, 0, 1), port: 80 },
    scheduler: 'rr',
    flags: 1,
    timeoutSeconds: 600,
  });
});

test('a mark with persistence keeps the port of packets, so other ports get the hash of the client', () => {
  const node = { ...nodePort, persistenceSeconds: 600 };
  const key = { family: 2 as const, mark: nodePortMark('tcp', 30080) };
  assert.deepEqual(serviceOf(node), { key, scheduler: 'mh', flags: 8, timeoutSeconds: 0 });
  const inside = { ...plain, persistenceSeconds: 600, mark: 0x084b0000 };
  assert.equal(serviceOf(inside).scheduler, 'mh');
  assert.deepEqual(serviceOf({ ...inside, port: 8080 }), {
    key: { family: 2, mark: 0x084b0000 },
    scheduler: 'rr',
    flags: 1,
    timeoutSeconds: 600,
  });
});

for (const [what, server, field] of [
  ['least connections with affinity', { ...plain, scheduler: 'lc', clientAffinity: true }, 'clientAffinity'],
  ['direct return of a node port', { ...nodePort, forwarding: 'dsr' }, 'forwarding'],
  ['direct return to another port', { ...plain, forwarding: 'dsr' }, 'forwarding'],
  [
    'direct return behind masquerade',
    { ...plain, forwarding: 'dsr', port: 8080, sourceAddress: 'masquerade' },
    'sourceAddress',
  ],
  ['direct return', { ...plain, forwarding: 'dsr', port: 8080 }, undefined],
  ['a node port', nodePort, undefined],
] as const satisfies readonly (readonly [string, VirtualServer, string | undefined])[])
  test(`${what} is ${field === undefined ? 'accepted' : `refused with the field ${field}`}`, () => {
    assert.equal(refuse(server)?.field, field);
  });

test('a mark alone encodes protocol and port, and no two node ports have the same mark', () => {
  const marks = (['tcp', 'udp', 'sctp'] as const).flatMap((protocol) =>
    [1, 80, 65535].map((port) => nodePortMark(protocol, port)),
  );
  assert.equal(new Set(marks).size, marks.length);
  assert.ok(marks.every(isOurMark));
  assert.ok(![0, 0x4000, 0x10000, 0x20000000, 0x40000000, 0x10480000].some(isOurMark), 'marks of others');
});

test('a written key can be read', () => {
  for (const server of [plain, nodePort, { ...plain, family: 6 as const, address: 'fd96::1' }]) {
    const read = readKey(keyOf(server));
    assert.equal(keyOf(read), keyOf(server));
    assert.equal(serviceId(serviceKey(read)), serviceId(serviceKey(server)));
  }
  assert.throws(() => readKey('no key'));
});

const destination = fc.record(
  {
    address: fc.constantFrom('10.2.0.1', '10.2.0.2', '10.2.0.3'),
    port: fc.constantFrom(80, 81),
    weight: fc.nat({ max: 3 }),
  },
  { noNullPrototype: true },
);
const destinations = fc.uniqueArray(destination, { selector: ({ address, port }) => `${address} ${port}` });

test('changes lead from the current state to the wanted state and affect nothing else', () => {
  fc.assert(
    fc.property(destinations, destinations, (before, after) => {
      const wanted = destinationsOf({ ...plain, destinations: after });
      const present = destinationsOf({ ...plain, destinations: before }).map((each) => ({
        ...each,
        active: 0,
        inactive: 0,
        connections: 0n,
      }));
      const { add, set, remove } = destinationChanges(wanted, present);
      const result = new Map(present.map((each) => [destinationId(each), each.weight]));
      for (const each of remove) assert.ok(result.delete(destinationId(each)));
      for (const each of add) {
        assert.ok(!result.has(destinationId(each)));
        result.set(destinationId(each), each.weight);
      }
      for (const each of set) {
        assert.notEqual(result.get(destinationId(each)), each.weight);
        result.set(destinationId(each), each.weight);
      }
      assert.deepEqual(
        [...result].toSorted(),
        wanted.map((each): [string, number] => [destinationId(each), each.weight]).toSorted(),
      );
    }),
  );
});

test('an address stays for as long as any server has it', () => {
  const ledger = openLedger({ 4: undefined, 6: undefined });
  const second = { ...plain, port: 81, sourceAddress: 'masquerade' as const };
  const hex = (addresses: readonly Buffer[]): string[] => addresses.map((each) => each.toString('hex'));
  assert.deepEqual(hex(ledger.change([], [plain]).newAddresses), ['0a600001']);
  const step = ledger.change([], [second]);
  assert.deepEqual([hex(step.newAddresses), [...(step.add.get('ip')?.keys() ?? [])]], [[], ['masqueraded']]);
  assert.deepEqual(
    hex(ledger.change([plain], [{ ...plain, destinations: [] }]).newAddresses),
    [],
    'nothing moves when a server changes',
  );
  assert.deepEqual(hex(ledger.change([plain], []).oldAddresses), []);
  const last = ledger.change([second], []);
  assert.deepEqual(
    [hex(last.oldAddresses), [...(last.take.get('ip')?.keys() ?? [])].toSorted()],
    [['0a600001'], ['addresses', 'masqueraded', 'virtual']],
  );
  assert.deepEqual(ledger.addresses(), []);
  assert.equal(addressBytes('fd96::1').length, 16);
});
