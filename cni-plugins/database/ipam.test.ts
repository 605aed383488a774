import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseIp, parsePrefix } from '../../base/addresses/index.ts';
import type { AddressRange } from '../spec/network-config.ts';
import { chooseAddress, successorOf } from './ipam.ts';

const range = (subnet: string, start: string, end: string, gateway: string): AddressRange => ({
  subnet: parsePrefix(subnet) ?? assert.fail(),
  start: parseIp(start) ?? assert.fail(),
  end: parseIp(end) ?? assert.fail(),
  gateway: parseIp(gateway) ?? assert.fail(),
});

/**
 * Two ranges of one set: 12 and 5 addresses. The gateways are reserved, and in the first range also network
 * and broadcast address.
 */
const set = [
  range('10.0.0.0/28', '10.0.0.0', '10.0.0.11', '10.0.0.5'),
  range('10.0.1.0/24', '10.0.1.20', '10.0.1.24', '10.0.1.22'),
];
const usable = 10 + 4;

const between =
  (leased: ReadonlySet<bigint>) =>
  (low: bigint, high: bigint): bigint[] =>
    [...leased].filter((value) => value >= low && value <= high).toSorted((a, b) => (a < b ? -1 : 1));

test('in any history of leases and releases, no address is leased twice, none is reserved, and a lease fails only if all are leased', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof({ weight: 3, arbitrary: fc.constant(-1) }, { weight: 2, arbitrary: fc.nat({ max: 30 }) }),
        { maxLength: 80 },
      ),
      (history) => {
        const leased = new Set<bigint>();
        let last: bigint | undefined;
        for (const step of history) {
          const victim = [...leased][step];
          if (step >= 0) {
            if (victim !== undefined) leased.delete(victim);
            continue;
          }
          const choice = chooseAddress(set, last, between(leased));
          if (choice === undefined) {
            assert.equal(leased.size, usable);
            continue;
          }
          const { value } = choice.address;
          assert.ok(!leased.has(value));
          assert.ok(value >= choice.range.start.value && value <= choice.range.end.value);
          assert.ok(
            !['10.0.0.0', '10.0.0.5', '10.0.0.15', '10.0.1.22'].some(
              (reserved) => parseIp(reserved)?.value === value,
            ),
          );
          leased.add(value);
          last = value;
        }
      },
    ),
  );
});

test('a released address is leased again only after all others', () => {
  let last: bigint | undefined;
  const seen: bigint[] = [];
  for (let index = 0; index < usable * 2; index += 1) {
    const choice = chooseAddress(set, last, between(new Set())) ?? assert.fail();
    last = choice.address.value;
    seen.push(last);
  }
  assert.equal(new Set(seen.slice(0, usable)).size, usable);
  assert.deepEqual(seen.slice(0, usable), seen.slice(usable));
});

test('leasing starts from the beginning if the last address is no longer in the ranges', () => {
  assert.equal(chooseAddress(set, 1n, between(new Set()))?.address.value, parseIp('10.0.0.1')?.value);
});

test('the short search for the next address finds the same address as the full search', () => {
  let short = 0;
  for (
    let last = (parseIp('10.0.0.0')?.value ?? 0n) - 2n;
    last <= (parseIp('10.0.1.26')?.value ?? 0n);
    last += 1n
  ) {
    const next = successorOf(set, last);
    if (next === undefined) continue;
    short += 1;
    assert.deepEqual(next, chooseAddress(set, last, between(new Set())));
  }
  // Every address that may be leased, except the first of the second range, which has no predecessor.
  assert.equal(short, 13);
});
