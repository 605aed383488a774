import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createdAfter, digest, now } from './identity.ts';

const hourMs = 3_600_000;
const nanoseconds = (ms: number): bigint => BigInt(ms) * 1_000_000n;

test('times follow the clock forward and back, and are never equal', (t) => {
  t.mock.timers.enable({ apis: ['Date'], now: 20 * hourMs });
  const reported = [now(), now()];
  assert.ok(BigInt(reported[1] ?? 0) > BigInt(reported[0] ?? 0));
  for (const hours of [26, 3, 4, 1]) {
    t.mock.timers.setTime(hours * hourMs);
    reported.push(now(), now());
    const behind = nanoseconds(hours * hourMs) - BigInt(reported.at(-1) ?? 0);
    assert.ok(behind <= 0n && behind > -1_000n, `${hours}: ${behind}`);
  }
  // A clock that runs too slowly, and a clock with coarse ticks.
  t.mock.timers.setTime(hourMs - 300);
  const [late, later] = [BigInt(now()), BigInt(now())];
  assert.ok(late > BigInt(reported.at(-1) ?? 0) && later > late);
  assert.equal(new Set(reported).size, reported.length);
});

test('an attempt has a later creation time than all earlier attempts, whatever the clock shows', () => {
  const all = [
    { name: 'k8s_main_pod_shop_uid_0', createdAt: '500' },
    { name: 'k8s_main_pod_shop_uid_1', createdAt: '900' },
    { name: 'k8s_main_pod_shop_uid_2', createdAt: '700' },
    { name: 'k8s_main_pod_shop_other_0', createdAt: '5000' },
  ];
  assert.equal(createdAfter('100', { name: 'k8s_main_pod_shop_uid_3' }, all), '901');
  assert.equal(createdAfter('900', { name: 'k8s_main_pod_shop_uid_3' }, all), '901');
  assert.equal(createdAfter('1000', { name: 'k8s_main_pod_shop_uid_3' }, all), '1000');
  assert.equal(createdAfter('100', { name: 'k8s_side_pod_shop_uid_0' }, all), '100');
});

test('the digest of bytes depends on their values only, not on the class that holds them', () => {
  const of = (value: Uint8Array): string => digest({ envs: [{ key: 'A', value }] });
  assert.equal(of(Buffer.from('blue')), of(Uint8Array.from(Buffer.from('blue'))));
  assert.notEqual(of(Buffer.from('blue')), of(Buffer.from('blur')));
});
