import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createCpuSamples } from './cpu-samples.ts';

test('the rate of the time since the first sample, and later of the last 10 seconds', () => {
  const samples = createCpuSamples();
  samples.add('a', { atMs: 0, usageNs: 0 });
  assert.equal(samples.nanoCores('a', { atMs: 1_000, usageNs: 5e8 }), 5e8);
  samples.add('a', { atMs: 5_000, usageNs: 10e9 });
  assert.equal(samples.nanoCores('a', { atMs: 5_000, usageNs: 10e9 }), 2e9, 'two processors');
  samples.add('a', { atMs: 10_000, usageNs: 10e9 });
  assert.equal(samples.nanoCores('a', { atMs: 14_000, usageNs: 10e9 }), Math.round(10e9 / 14));
  assert.equal(samples.nanoCores('a', { atMs: 15_000, usageNs: 10e9 }), 0, 'idle for 10 seconds');
  assert.equal(samples.nanoCores('b', { atMs: 1_000, usageNs: 1 }), undefined);
});

test('no rate until there is a sample that is old enough', () => {
  const samples = createCpuSamples();
  assert.equal(samples.nanoCores('a', { atMs: 0, usageNs: 1 }), undefined);
  samples.add('a', { atMs: 0, usageNs: 0 });
  assert.equal(samples.nanoCores('a', { atMs: 50, usageNs: 5e7 }), undefined, 'too soon for a rate');
  samples.add('a', { atMs: 50, usageNs: 5e7 });
  assert.equal(samples.nanoCores('a', { atMs: 200, usageNs: 1e8 }), 5e8, 'from the first sample');
});

test('the rate of a program that works in bursts is its average, at any time', () => {
  // 20 ms of work at the begin of every 1.1 seconds, as a shell that repeats a command and sleeps for 1 s.
  const usageNs = (atMs: number): number =>
    Math.floor(atMs / 1_100) * 20e6 + Math.min(atMs % 1_100, 20) * 1e6;
  const samples = createCpuSamples();
  const average = 20e9 / 1_100;
  for (let second = 0; second < 120; second += 1) {
    samples.add('a', { atMs: second * 1_000, usageNs: usageNs(second * 1_000) });
    const atMs = second * 1_000 + 999;
    const rate = samples.nanoCores('a', { atMs, usageNs: usageNs(atMs) });
    if (second < 10) continue;
    assert.ok(rate !== undefined && Math.abs(rate - average) < 0.2 * average, `${rate} after ${second} s`);
  }
});

test('a counter that decreased starts again; old samples are removed', () => {
  const samples = createCpuSamples();
  samples.add('a', { atMs: 0, usageNs: 1e9 });
  samples.add('a', { atMs: 1_000, usageNs: 2e9 });
  samples.add('a', { atMs: 2_000, usageNs: 1e6 });
  assert.equal(samples.nanoCores('a', { atMs: 3_000, usageNs: 5e5 }), undefined);
  assert.equal(samples.nanoCores('a', { atMs: 3_000, usageNs: 2e6 }), 1e6);
  samples.add('b', { atMs: 0, usageNs: 0 });
  samples.keep(new Set(['b']));
  assert.deepEqual([samples.has('a'), samples.has('b')], [false, true]);
});

test('for any samples, a rate is a whole number and not negative', () => {
  const sample = fc.record({ atMs: fc.double({ min: 0, max: 1e9, noNaN: true }), usageNs: fc.nat() });
  fc.assert(
    fc.property(fc.array(sample), sample, (all, now) => {
      const samples = createCpuSamples();
      for (const one of all) samples.add('a', one);
      const rate = samples.nanoCores('a', now);
      assert.ok(rate === undefined || (Number.isInteger(rate) && rate >= 0));
    }),
  );
});
