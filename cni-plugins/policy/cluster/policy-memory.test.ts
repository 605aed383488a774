import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinear } from '../../../test/fixtures/cost.ts';
import { createClusterTable } from './cluster-table.ts';
import { createPolicyMemory } from './policy-memory.ts';

const policy = (namespace: string, name: string, rules: number) => ({
  ...{ namespace, name, podSelector: [] },
  ingress: Array.from({ length: rules }, () => ({})),
});

test('the largest policies of a namespace are dropped until the others fit', () => {
  const memory = createPolicyMemory({ ofNamespace: 100_000, ofAll: 1_000_000 });
  assert.deepEqual(memory.put('a/one', policy('a', 'one', 500)), []);
  assert.deepEqual(memory.put('b/other', policy('b', 'other', 1000)), []);
  assert.deepEqual(memory.put('a/two', policy('a', 'two', 700)), []);
  assert.deepEqual(memory.put('a/three', policy('a', 'three', 500)), ['a/two']);
  assert.deepEqual(memory.put('a/one', undefined), []);
  assert.deepEqual(memory.put('a/two', policy('a', 'two', 700)), []);
});

test('if all namespaces together need too much, only those that need most are affected', () => {
  const memory = createPolicyMemory({ ofNamespace: 100_000, ofAll: 200_000 });
  assert.deepEqual(memory.put('victim/one', policy('victim', 'one', 200)), []);
  for (const name of ['a', 'b', 'c', 'd', 'e']) {
    const dropped = memory.put(`${name}/one`, policy(name, 'one', 1000));
    assert.ok(dropped.length < 2 && !dropped.includes('victim/one'), dropped.join());
  }
  assert.deepEqual(memory.put('victim/two', policy('victim', 'two', 200)), []);
});

test('the cost of many small policies of one namespace is in proportion to their number', async () => {
  await assertNearLinear(
    'policies',
    (n) => {
      const memory = createPolicyMemory({ ofNamespace: 50_000, ofAll: 1_000_000 });
      for (let at = 0; at < n; at += 1) memory.put(`a/${at}`, policy('a', `${at}`, 1));
    },
    { n: 2000 },
  );
});

/** The rules cost two bytes each in the store of an API server, and about 70 in memory. */
const large = (namespace: string, name: string): object => ({
  metadata: { namespace, name },
  spec: { podSelector: { matchLabels: { app: 'x' } }, policyTypes: ['Ingress'], ingress: rules },
});
const rules = Array.from({ length: 300_000 }, () => ({}));

test('a namespace with large policies is isolated, and keeps nothing of them', () => {
  const table = createClusterTable('here');
  for (const collection of ['namespaces', 'nodes', 'pods'] as const) {
    table[collection].begin();
    table[collection].complete();
  }
  table.policies.begin();
  for (const name of ['one', 'two', 'three']) table.policies.listed(large('greedy', name));
  table.policies.listed({ metadata: { namespace: 'other', name: 'one' }, spec: { podSelector: {} } });
  table.policies.complete();
  const known = new Map(table.saved('policies')?.value.policies);
  const [kept, ...others] = ['one', 'two', 'three']
    .map((name) => known.get(`greedy/${name}`))
    .sort((a, b) => (b?.ingress?.length ?? 0) - (a?.ingress?.length ?? 0));
  assert.equal(kept?.ingress?.length, rules.length);
  for (const one of others) {
    assert.deepEqual([one?.podSelector, one?.ingress, one?.egress], [[], [], []]);
    assert.match(one?.unreadable ?? '', /too large/u);
  }
  assert.equal(known.get('other/one')?.unreadable, undefined);
  assert.equal(table.figures().problems.length, 2);
  const [pods, policies] = [table.saved('pods')?.value, table.saved('policies')?.value];
  assert.ok(pods !== undefined && policies !== undefined);
  const restarted = createClusterTable('here');
  restarted.load({ pods, policies });
  assert.deepEqual(restarted.figures().problems.toSorted(), table.figures().problems.toSorted());
  table.policies.removed({ metadata: { namespace: 'greedy', name: kept?.name } });
  table.policies.changed(large('greedy', others[0]?.name ?? ''));
  assert.equal(table.figures().problems.length, 1);
});
