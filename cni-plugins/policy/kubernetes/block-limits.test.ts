import assert from 'node:assert/strict';
import { test } from 'node:test';
import { blockLimits, countBlocks } from './block-limits.ts';
import { evaluate } from './evaluate.fixture.ts';
import type { NetworkPolicy } from './network-policy.ts';

let next = 0;
/** @param blocks of addresses that the policy names, each with an exception */
function policyWith(blocks: number, namespace = 'shop'): NetworkPolicy {
  const cidrs = Array.from({ length: blocks }, (_, at) => `10.${at >> 8}.${at & 255}.0/24`);
  const peers = cidrs.map((cidr) => ({ cidr, except: [cidr.replace('0/24', '0/32')] }));
  return { namespace, name: `p${(next += 1)}`, podSelector: [], egress: [{ peers }] };
}

/** @param namespaces for each pod its policies */
const limitsOf = (namespaces: Record<string, readonly (readonly NetworkPolicy[])[]>): object =>
  Object.fromEntries(blockLimits(new Map(Object.entries(namespaces)), (policies) => policies));

test('blocks and their exceptions count, once for each policy of a namespace', () => {
  const policy = policyWith(30_000);
  assert.deepEqual([countBlocks([policy], 'egress'), countBlocks([policy], 'ingress')], [60_000, 0]);
  assert.deepEqual(limitsOf({ one: Array.from({ length: 200 }, () => [policy]) }), {});
});

test('a namespace whose pods together name too many blocks has a lower limit for each pod', () => {
  const many = Array.from({ length: 5 }, () => [policyWith(30_000)]);
  assert.deepEqual(limitsOf({ one: many.slice(0, 4), two: [[policyWith(10)]] }), {});
  assert.deepEqual(limitsOf({ one: many, two: [[policyWith(10)]] }), { one: Math.floor(262_144 / 2 / 5) });
});

test('if all namespaces name too many blocks, those within an equal share lose nothing', () => {
  const large = (): NetworkPolicy[][] => [[policyWith(60_000), policyWith(60_000)]];
  const limits = limitsOf({
    ...{ one: large(), two: large(), three: large(), four: large(), small: [[policyWith(50_000)]] },
  });
  const share = Math.floor((4 * 262_144 - 100_000) / 4);
  const lowered = Math.floor(share / 2);
  assert.deepEqual(limits, { one: lowered, two: lowered, three: lowered, four: lowered });
});

test('a pod beyond the blocks of its whole namespace is isolated, and the blocks are not read', () => {
  const [first, second, third] = [50_000, 50_000, 50_000].map((blocks) => policyWith(blocks));
  assert.ok(first && second && third);
  const pod = { namespace: 'shop', labels: {}, addresses: ['10.9.0.2'], namedPorts: [] };
  const [rules] = evaluate({ policies: [first, second, third], namespaces: new Map() }, [pod]);
  assert.deepEqual(rules?.egress?.unreadable, [
    'the NetworkPolicies that select the pod name more than 262144 blocks of addresses',
  ]);
  assert.equal(rules?.egress?.grants.length, 1, 'only the pod itself');
});
