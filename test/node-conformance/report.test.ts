import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exclusion } from './report.ts';
import { format, judge, readSpecs } from './report.ts';

const spec = (text: string, state: string, more: object = {}): object => ({
  ContainerHierarchyTexts: ['[sig-node] Pods'],
  LeafNodeText: text,
  LeafNodeType: 'It',
  State: state,
  NumAttempts: 1,
  ...more,
});

const exclusions: readonly Exclusion[] = [
  { specs: /Pods needs a link/, reason: 'the kernel lacks it' },
  { specs: /Pods is refused/, reason: 'by design' },
];

test('specs that the focus excluded do not count', () => {
  const specs = readSpecs([
    {
      SpecReports: [
        spec('starts', 'passed'),
        spec('is not selected', 'skipped', { NumAttempts: 0 }),
        spec('needs a feature', 'skipped', { Failure: { Message: 'no such feature' } }),
        spec('times out', 'timedout'),
      ],
    },
  ]);
  assert.deepEqual(
    specs.map(({ name, outcome, why }) => [name, outcome, why]),
    [
      ['[sig-node] Pods needs a feature', 'skipped', 'no such feature'],
      ['[sig-node] Pods starts', 'passed', ''],
      ['[sig-node] Pods times out', 'failed', ''],
    ],
  );
});

test('a step before the specs that fails is a failure, and one that passes is no spec', () => {
  const step = { LeafNodeText: '', LeafNodeType: 'SynchronizedBeforeSuite', ContainerHierarchyTexts: null };
  assert.deepEqual(readSpecs([{ SpecReports: [{ ...step, State: 'passed', NumAttempts: 1 }] }]), []);
  const [failed] = readSpecs([
    { SpecReports: [{ ...step, State: 'failed', NumAttempts: 1, Failure: { Message: 'no kubelet' } }] },
  ]);
  assert.deepEqual(failed, { name: 'SynchronizedBeforeSuite', outcome: 'failed', why: 'no kubelet' });
});

test('a failure is explained only by its exclusion, and a pass makes the exclusion stale', () => {
  const specs = readSpecs([
    { SpecReports: [spec('needs a link', 'passed'), spec('is refused', 'failed'), spec('starts', 'failed')] },
  ]);
  const ours = judge(specs, exclusions);
  assert.deepEqual(
    ours.unexplained.map(({ name }) => name),
    ['[sig-node] Pods starts'],
  );
  assert.deepEqual(
    ours.explained.map(({ reason }) => reason),
    ['by design'],
  );
  assert.deepEqual(
    ours.stale.map(({ name }) => name),
    ['[sig-node] Pods needs a link'],
  );
  assert.equal(judge(specs, exclusions.slice(0, 1)).unexplained.length, 2);
  assert.match(format(specs, ours), /^sig-node +1 +2 +0$/m);
});
