import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  isFor,
  notNeeded,
  releaseFor,
  releasePath,
  releasesIn,
  releaseTarget,
  stageName,
} from './release.ts';
import type { PolicyRelease } from './release.ts';

const release = (number: number, more: Partial<PolicyRelease> = {}): PolicyRelease => ({
  ...{ channel: 'stable', number, sha256: 'a'.repeat(64), length: 10, revision: 'sha256:b', stages: [] },
  ...{ reached: 1, halt: { denials: 1, watch: 600 }, withdrawn: false },
  ...more,
});
const staged = {
  stages: [
    { name: 'canary', labels: { stage: 'canary', zone: 'a' } },
    { name: 'quarter', percent: 25 },
  ],
};
const node = (name: string, labels: Readonly<Record<string, string>> = {}) => ({ name, labels });

test('a release is the same after it was signed and read', () => {
  for (const one of [
    release(7, staged),
    release(1, { withdrawn: true }),
    release(9, { ...staged, reached: 3 }),
  ])
    assert.deepEqual(releasesIn([[releasePath(one), releaseTarget(one)]], 'stable'), [one]);
});

test('targets of another form are not releases', () => {
  const good = releaseTarget(release(1, staged));
  const { policyRelease } = good.custom as { policyRelease: Record<string, unknown> };
  const custom = (change: object) => ({
    ...good,
    custom: { policyRelease: { ...policyRelease, ...change } },
  });
  const others: [string, typeof good][] = [
    ['stable/0.tar', good],
    ['stable/01.tar', good],
    ['stable/1.zip', good],
    ['other/1.tar', good],
    ['a/stable/1.tar', good],
    ['stable/2.tar', { ...good, custom: undefined }],
    ['stable/2.tar', { ...good, hashes: { sha512: 'a' } }],
    ...[
      { version: 2 },
      { reached: 0 },
      { reached: 1.5 },
      { revision: 1 },
      { halt: {} },
      { halt: { denials: -1, watch: 0 } },
      { stages: [{ name: 'all', percent: 100 }] },
      { stages: [{ name: 'x' }] },
      { stages: [{ name: 'x', labels: {} }] },
      { stages: [{ name: 'x', labels: { a: 'b' }, percent: 5 }] },
      { stages: Array.from({ length: 17 }, () => ({ name: 'x', percent: 1 })) },
    ].map((change): [string, typeof good] => ['stable/2.tar', custom(change)]),
  ];
  for (const other of others) assert.deepEqual(releasesIn([other], 'stable'), [], JSON.stringify(other));
});

test('a stage selects by all of its labels, and a release reaches stages in order', () => {
  const canary = node('n', { stage: 'canary', zone: 'a', more: 'x' });
  const half = node('n', { stage: 'canary' });
  assert.equal(isFor(release(1, staged), canary), true);
  assert.equal(isFor(release(1, staged), half), false);
  assert.equal(isFor(release(1, { ...staged, reached: 3 }), half), true);
  assert.deepEqual(
    [1, 2, 3].map((reached) => stageName({ ...staged, reached })),
    ['canary', 'quarter', 'all'],
  );
  const releases = [release(3, staged), release(2), release(1)];
  assert.equal(releaseFor(releases, canary)?.number, 3);
  assert.equal(releaseFor(releases, half)?.number, 2);
  assert.equal(releaseFor([release(3, { withdrawn: true }), release(2)], canary)?.number, 2);
});

test('a share of nodes is close to its percentage, stable, and grows', () => {
  const names = Array.from({ length: 4000 }, (_, index) => `node-${index}.example.com`);
  const selected = (percent: number): Set<string> =>
    new Set(names.filter((name) => isFor(release(1, { stages: [{ name: 's', percent }] }), node(name))));
  const [ten, quarter] = [selected(10), selected(25)];
  assert.ok(Math.abs(quarter.size / names.length - 0.25) < 0.04, `${quarter.size}`);
  for (const name of ten) assert.ok(quarter.has(name));
});

test('a node that a stage selects keeps being selected at each later stage', () => {
  fc.assert(
    fc.property(fc.string(), fc.integer({ min: 1, max: 3 }), fc.boolean(), (name, reached, isCanary) => {
      const one = node(name, isCanary ? { stage: 'canary', zone: 'a' } : {});
      const now = isFor(release(1, { ...staged, reached }), one);
      assert.ok(!now || isFor(release(1, { ...staged, reached: reached + 1 }), one));
    }),
  );
});

test('a release is listed as long as it is the newest one of some node', () => {
  const canaries = Array.from({ length: 30 }, (_, index) => release(31 - index, staged));
  const removed = notNeeded([...canaries, release(1)]);
  assert.equal(releaseFor([...canaries, release(1)], node('any'))?.number, 1);
  assert.deepEqual(
    removed.map(({ number }) => number),
    [11, 10, 9, 8, 7, 6, 5, 4, 3, 2],
  );
  const nodes = [node('x'), node('canary', { stage: 'canary', zone: 'a' }), node('other', { stage: 'b' })];
  const anyRelease = fc.record({
    stages: fc.constantFrom([], staged.stages, [{ name: 'b', labels: { stage: 'b' } }]),
    reached: fc.integer({ min: 1, max: 3 }),
    withdrawn: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(anyRelease, { minLength: 20, maxLength: 40 }), (some) => {
      const releases = some.map((one, index) => release(100 - index, one));
      const gone = new Set(notNeeded(releases));
      const listed = releases.filter((one) => !gone.has(one));
      for (const one of nodes) assert.equal(releaseFor(listed, one), releaseFor(releases, one));
    }),
  );
});
