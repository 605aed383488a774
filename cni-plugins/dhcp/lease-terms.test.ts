import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipv4Number } from './ipv4.ts';
import { readTerms } from './lease-terms.ts';
import type { LeaseTerms, ReadTerms } from './lease-terms.ts';
import { optionCodes as codes } from './option-codes.ts';

const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};
const addresses = (...texts: string[]): Buffer => Buffer.concat(texts.map((text) => be32(ipv4Number(text))));

const usual: readonly (readonly [number, Buffer])[] = [
  [codes.server, addresses('10.0.0.1')],
  [codes.subnetMask, addresses('255.255.255.0')],
  [codes.routers, addresses('10.0.0.1')],
  [codes.leaseTime, be32(3600)],
];
const read = (
  changes: readonly (readonly [number, Buffer])[] = [],
  address = '10.0.0.9',
  without: readonly number[] = [],
): ReadTerms | string =>
  readTerms({
    op: 2,
    xid: 1,
    secs: 0,
    broadcast: false,
    clientAddress: 0,
    yourAddress: ipv4Number(address),
    hardware: Buffer.alloc(6),
    options: new Map([...usual, ...changes].filter(([code]) => !without.includes(code))),
  });
const terms = (...given: Parameters<typeof read>): LeaseTerms => {
  const result = read(...given);
  if (typeof result === 'string') assert.fail(result);
  return result.terms;
};

const refusal = (result: ReadTerms | string): string =>
  typeof result === 'string' ? result : 'it is not refused';

test('the terms of a usual answer', () => {
  assert.deepEqual(terms(), {
    address: '10.0.0.9',
    length: 24,
    server: '10.0.0.1',
    router: '10.0.0.1',
    routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }],
    nameservers: [],
    search: [],
    seconds: 3600,
    renewAfter: 1800,
    rebindAfter: 3150,
  });
});

test('an address that no interface can have is refused, and a subnet without bounds', () => {
  for (const address of ['0.0.0.0', '0.1.2.3', '127.0.0.1', '224.0.0.1', '255.255.255.255'])
    assert.match(refusal(read([], address)), /is not one of an interface/u);
  for (const address of ['10.0.0.0', '10.0.0.255'])
    assert.match(refusal(read([], address)), /first or last/u);
  for (const mask of ['0.0.0.0', '128.0.0.0', '254.0.0.0', '255.0.255.0', '0.0.0.255'])
    assert.match(refusal(read([[codes.subnetMask, addresses(mask)]])), /is not one of \/8 to \/32/u);
  assert.match(refusal(read([], undefined, [codes.subnetMask])), /no subnet mask/u);
  assert.match(refusal(read([], undefined, [codes.server])), /names no server/u);
  assert.match(refusal(read([], undefined, [codes.leaseTime])), /no lease time/u);
  assert.equal(terms([[codes.subnetMask, addresses('255.255.255.254')]], '10.0.0.8').length, 31);
});

test('times that are absurd are refused or replaced', () => {
  for (const seconds of [0, 9]) assert.match(refusal(read([[codes.leaseTime, be32(seconds)]])), /less than/u);
  const endless = terms([[codes.leaseTime, be32(0xffffffff)]]);
  assert.equal(endless.seconds, undefined);
  assert.ok(Number.isFinite(endless.renewAfter));
  const times = (renewal: number, rebinding: number): number[] => {
    const { renewAfter, rebindAfter } = terms([
      [codes.renewalTime, be32(renewal)],
      [codes.rebindingTime, be32(rebinding)],
    ]);
    return [renewAfter, rebindAfter];
  };
  assert.deepEqual(times(100, 200), [100, 200]);
  assert.deepEqual(times(0, 0), [1800, 3150]);
  assert.deepEqual(times(300, 200), [200, 200]);
  assert.deepEqual(times(5000, 6000), [1800, 3150]);
});

test('a router outside of the subnet is not used', () => {
  const result = read([[codes.routers, addresses('192.0.2.1', '10.0.0.9', '10.0.0.2')]]);
  assert.ok(typeof result === 'object');
  assert.equal(result.terms.router, '10.0.0.2');
  assert.deepEqual(result.ignored, [
    'the router 192.0.2.1 is not in the subnet',
    'the router 10.0.0.9 is not in the subnet',
  ]);
});

test('classless routes replace the router and the static routes, and are at most 64', () => {
  const route = (length: number, destination: readonly number[], gateway: string): Buffer =>
    Buffer.concat([Buffer.of(length, ...destination), addresses(gateway)]);
  const options = Buffer.concat([
    route(0, [], '10.0.0.3'),
    route(17, [10, 9, 200], '10.0.0.4'),
    route(8, [11], '192.0.2.1'),
    route(8, [12], '0.0.0.0'),
  ]);
  assert.deepEqual(terms([[codes.classlessRoutes, options]]).routes, [
    { dst: '0.0.0.0/0', gw: '10.0.0.3' },
    { dst: '10.9.128.0/17', gw: '10.0.0.4' },
  ]);
  const many = Buffer.concat(
    Array.from({ length: 10_000 }, (_, at) => route(24, [11, at >> 8, at & 255], '10.0.0.3')),
  );
  assert.equal(terms([[codes.classlessRoutes, many]]).routes.length, 64);
  for (const malformed of [Buffer.of(33, 1), Buffer.of(24, 1, 2), Buffer.of(0, 1, 2, 3)])
    assert.deepEqual(terms([[codes.classlessRoutes, malformed]]).routes, [
      { dst: '0.0.0.0/0', gw: '10.0.0.1' },
    ]);
  const old = addresses('172.16.0.0', '10.0.0.5', '0.0.0.0', '10.0.0.6', '240.0.0.0', '10.0.0.6');
  assert.deepEqual(terms([[codes.staticRoutes, old]]).routes, [
    { dst: '172.16.0.0/16', gw: '10.0.0.5' },
    { dst: '0.0.0.0/0', gw: '10.0.0.1' },
  ]);
});
