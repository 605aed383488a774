import assert from 'node:assert/strict';
import { test } from 'node:test';
import { grantLimits, mostGrants } from './grant-limits.ts';
import type { GrantDemand } from './grant-limits.ts';

/** @param namespaces number of pods, and rules of each pod in each direction */
const limitsOf = (namespaces: Record<string, readonly [pods: number, grants: number]>): object => {
  const pods = Object.entries(namespaces).map(([name, [count, grants]]) => {
    const demand: GrantDemand = { egress: grants, ingress: grants, withBlocks: [] };
    return [name, Array.from({ length: count }, () => demand)] as const;
  });
  const limits = grantLimits(new Map(pods), (demand) => demand);
  const shared = [...limits].flatMap(([name, { isShare }]) => (isShare ? [name] : []));
  return { ...Object.fromEntries([...limits].map(([name, { most }]) => [name, most])), shared };
};

test('one namespace may have as many rules as the node allows', () => {
  assert.deepEqual(limitsOf({ one: [64, mostGrants] }), { one: mostGrants, shared: [] });
  assert.deepEqual(limitsOf({ one: [128, 10] }), { one: 2048, shared: [] });
});

test('namespaces that ask for more than the node allows share it, and no other namespace loses rules', () => {
  assert.deepEqual(
    limitsOf({ one: [64, mostGrants], two: [64, mostGrants], small: [10, 100], none: [1, 0] }),
    {
      none: mostGrants,
      small: mostGrants,
      one: 2040,
      two: 2040,
      shared: ['one', 'two'],
    },
  );
});

test('rules beyond the limit of their namespace take no share of the node', () => {
  assert.deepEqual(limitsOf({ one: [128, 4000], two: [64, mostGrants] }), {
    one: 2048,
    two: mostGrants,
    shared: [],
  });
});
