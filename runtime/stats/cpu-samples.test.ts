import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createCpuSamples } from './cpu-samples.ts';

test('the rate of the two latest samples', () => {
  const samples = createCpuSamples();
  samples.add('a', { atMs: 0, usageNs: 0 });
  samples.add('a', { atMs: 1_000, usageNs: 5e8 });
  assert.equal(samples.nanoCores('a'), 5e8);
  samples.add('a', { atMs: 2_000, usageNs: 25e8 });
  assert.equal(samples.nanoCores('a'), 2e9, 'two processors');
  assert.equal(samples.nanoCores('b'), undefined);
});

test('no rate until there are two samples; the second may be the reading itself', () => {
  const samples = createCpuSamples();
  assert.equal(samples.nanoCores('a', { atMs: 0, usageNs: 1 }), undefined);
  samples.add('a', { atMs: 0, usageNs: 0 });
  assert.equal(samples.nanoCores('a'), undefined);
  assert.equal(samples.nanoCores('a', { atMs: 50, usageNs: 5e7 }), undefined, 'too soon for a rate');
  assert.equal(samples.nanoCores('a', { atMs: 200, usageNs: 1e8 }), 5e8);
});

test('a counter that decreased starts again; old samples are removed', () => {
  const samples = createCpuSamples();
  samples.add('a', { atMs: 0, usageNs: 1e9 });
  samples.add('a', { atMs: 1_000, usageNs: 2e9 });
  samples.add('a', { atMs: 2_000, usageNs: 1e6 });
  assert.equal(samples.nanoCores('a'), undefined);
  assert.equal(samples.nanoCores('a', { atMs: 3_000, usageNs: 5e5 }), undefined);
  samples.add('b', { atMs: 0, usageNs: 0 });
  samples.keep(new Set(['b']));
  assert.deepEqual([samples.has('a'), samples.has('b')], [false, true]);
});

test('for any samples, a rate is a whole number and not negative', () => {
  const sample = fc.record({ atMs: fc.double({ min: 0, max: 1e9, noNaN: true }), usageNs: fc.nat() });
  fc.assert(
    fc.property(fc.array(sample), fc.option(sample, { nil: undefined }), (all, now) => {
      const samples = createCpuSamples();
      for (const one of all) samples.add('a', one);
      const rate = samples.nanoCores('a', now);
      assert.ok(rate === undefined || (Number.isInteger(rate) && rate >= 0));
    }),
  );
});
