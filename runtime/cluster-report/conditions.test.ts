import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conditionsOf } from './conditions.ts';
import type { ConditionFacts, NodeCondition } from './conditions.ts';
import type { PodOutOfPolicy } from './pod-facts.ts';
import { compareHandlers, readRuntimeClass } from './runtime-classes.ts';

const well: ConditionFacts = {
  ...{ revision: 'sha256:abc', problem: undefined, source: 'objects of the cluster', isDecided: true },
  ...{ pods: [], images: 0, handlers: { withoutHandler: [], withoutClass: [] } },
};
const conditionOf = (type: NodeCondition['type'], facts: Partial<ConditionFacts> = {}): NodeCondition => {
  const found = conditionsOf({ ...well, ...facts }).find((one) => one.type === type);
  assert.ok(found);
  return found;
};
const pod = (name: string, references: readonly string[]): PodOutOfPolicy => ({
  ...{ namespace: 'shop', name, uid: `${name}-uid` },
  containers: references.map((reference, index) => ({
    ...{ name: `c${index}`, reference, outcome: 'deny', rule: 'base.yaml:3', verdict: 'v1', reasons: ['no'] },
  })),
});

test('a node in order has no condition that is true', () => {
  assert.deepEqual(
    conditionsOf(well).map(({ type, status, reason }) => [type, status, reason]),
    [
      ['ImagePolicyNotInForce', 'False', 'InForce'],
      ['ImagesOutOfPolicy', 'False', 'InPolicy'],
      ['RuntimeClassWithoutHandler', 'False', 'HandlersThere'],
    ],
  );
  assert.match(conditionOf('ImagePolicyNotInForce').message, /sha256:abc .*from objects of the cluster/u);
});

test('the condition of the policy says whether there is none, or an older one stays', () => {
  const none = conditionOf('ImagePolicyNotInForce', { revision: undefined, problem: 'no TrustPolicy' });
  assert.deepEqual([none.status, none.reason], ['True', 'NoPolicy']);
  assert.match(none.message, /no TrustPolicy/u);
  const old = conditionOf('ImagePolicyNotInForce', { problem: 'excpt is unknown' });
  assert.deepEqual([old.status, old.reason], ['True', 'NotTaken']);
});

test('the condition of images names images and rules, and no pods', () => {
  const found = conditionOf('ImagesOutOfPolicy', {
    pods: [pod('web', ['r/a:1', 'r/b:1']), pod('db', ['r/a:1'])],
  });
  assert.deepEqual([found.status, found.reason], ['True', 'ContainersOutOfPolicy']);
  assert.match(found.message, /3 running containers in 2 pods/u);
  assert.equal(found.message.split('r/a:1 (denied by rule base.yaml:3)').length, 2);
  assert.doesNotMatch(found.message, /web|db|shop/u);
});

test('what was not decided or read is unknown, and not false', () => {
  assert.equal(conditionOf('ImagesOutOfPolicy', { isDecided: false }).status, 'Unknown');
  assert.equal(conditionOf('ImagesOutOfPolicy', { revision: undefined }).status, 'Unknown');
  assert.equal(conditionOf('RuntimeClassWithoutHandler', { handlers: undefined }).status, 'Unknown');
});

test('recorded images that nothing uses count, too', () => {
  const found = conditionOf('ImagesOutOfPolicy', { images: 1 });
  assert.deepEqual([found.status, found.reason], ['True', 'ImagesRecorded']);
  assert.match(found.message, /does not admit 1 image on/u);
});

test('a message has a bounded length', () => {
  const pods = Array.from({ length: 500 }, (_, at) =>
    pod(`p${at}`, [`registry.test/${'x'.repeat(200)}/${at}:1`]),
  );
  assert.ok(conditionOf('ImagesOutOfPolicy', { pods }).message.length <= 1024);
});

test('a RuntimeClass counts if its nodeSelector matches the labels of the node', () => {
  const of = (name: string, handler: string, nodeSelector?: object) => {
    const read = readRuntimeClass({ metadata: { name }, handler, scheduling: { nodeSelector } });
    assert.ok(read);
    return read;
  };
  const classes = [
    of('usual', 'crun'),
    of('vm', 'kata'),
    of('there', 'gvisor', { zone: 'a', arch: 'arm64' }),
    of('here', 'runsc', { zone: 'a' }),
  ];
  const { withoutHandler, withoutClass } = compareHandlers(
    classes,
    new Set(['', 'crun', 'runc', 'youki']),
    { zone: 'a', arch: 'amd64' },
    'youki',
  );
  assert.deepEqual(
    withoutHandler.map(({ name }) => name),
    ['here', 'vm'],
  );
  assert.deepEqual(withoutClass, ['runc']);
  assert.equal(readRuntimeClass({ metadata: { name: 'x' } }), undefined);
  assert.equal(readRuntimeClass('text'), undefined);
});
