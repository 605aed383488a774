import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PeerGroup } from '../rules/peer-group.ts';
import type { Tier } from '../rules/pod-chains.ts';
import type { ClusterNetworkPolicy, ClusterRule } from './cluster-network-policy.ts';
import { createEvaluator, indexPolicies } from './evaluate.ts';
import type { PolicyPod } from './evaluate.ts';
import type { Labels } from './network-policy.ts';
import { clusterGroup } from './peer-index.ts';

const pod: PolicyPod = {
  ...{ namespace: 'n', labels: {}, addresses: ['10.0.0.1'] },
  namedPorts: [{ name: 'web', protocol: 'tcp', port: 80 }],
};
const inTeam = [{ key: 'team', operator: 'Exists', values: [] }] as const;
const policy = (
  rules: readonly ClusterRule[],
  more: Partial<ClusterNetworkPolicy> = {},
): ClusterNetworkPolicy => ({
  ...{ name: 'p', tier: 'admin', priority: 1, subject: { namespaces: [] }, ingress: [], egress: rules },
  ...more,
});
const rule = (action: ClusterRule['action'], more: Partial<ClusterRule> = {}): ClusterRule => ({
  ...{ action, name: action, peers: [{ namespaces: [] }] },
  ...more,
});

/** @param labels of the pod's namespace; undefined: they are not known */
function evaluated(
  policies: readonly ClusterNetworkPolicy[],
  {
    labels,
    isComplete = true,
    pods = 1,
  }: { readonly labels?: Labels | undefined; readonly isComplete?: boolean; readonly pods?: number },
): Tier | undefined {
  const { tiersOf } = createEvaluator(({ key, port }): PeerGroup => ({
    key,
    withPorts: port !== undefined,
    members: new Set(),
    isComplete,
  }));
  const namespaces = new Map(labels === undefined ? [] : [['n', labels]]);
  const set = indexPolicies({ policies: [], namespaces: new Map(), cluster: { policies, namespaces } });
  return tiersOf(set, pod, pods).admin?.egress;
}

const actions = (tier: Tier | undefined): unknown =>
  tier?.steps.map(({ action, group, peers }) => [action, group !== undefined || peers !== undefined]);

test('while the labels of a namespace are not known, a policy that may select the pod denies everything and accepts nothing', () => {
  const rules = [rule('accept'), rule('pass'), rule('deny')];
  const subject = { namespaces: inTeam };
  assert.deepEqual(actions(evaluated([policy(rules, { subject })], { labels: { team: 'a' } })), [
    ['accept', true],
    ['pass', true],
    ['deny', true],
  ]);
  assert.equal(evaluated([policy(rules, { subject })], { labels: {} }), undefined);
  assert.deepEqual(actions(evaluated([policy(rules, { subject })], {})), [
    ['deny', true],
    ['deny', true],
  ]);
  const byName = [{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['other'] }] as const;
  assert.equal(
    evaluated([policy(rules, { subject: { namespaces: [...byName, ...inTeam] } })], {}),
    undefined,
  );
});

test('while the members of a group are not known, a rule that denies or passes denies everything', () => {
  const rules = [rule('accept'), rule('pass'), rule('deny')];
  assert.deepEqual(actions(evaluated([policy(rules)], { labels: {}, isComplete: false })), [
    ['accept', true],
    ['deny', false],
    ['deny', false],
  ]);
  const blocks = [rule('deny', { peers: [{ cidr: '10.0.0.0/8', except: [] }] })];
  assert.deepEqual(actions(evaluated([policy(blocks)], { labels: {}, isComplete: false })), [['deny', true]]);
});

test('only a rule that denies counts pods of a namespace that is not known yet', () => {
  const peers = [{ namespaces: inTeam }];
  const tier = evaluated([policy([rule('accept', { peers }), rule('deny', { peers })])], { labels: {} });
  const [accepts, denies] = tier?.steps.map(({ group }) => group?.key) ?? [];
  assert.equal(accepts, clusterGroup(peers).key);
  assert.equal(denies, clusterGroup(peers, undefined, 'denied').key);
  assert.notEqual(accepts, denies);
});

test('a rule that passes denies pods of a namespace that is not known yet, which a later rule would accept', () => {
  const peers = [{ namespaces: inTeam }];
  const tier = evaluated([policy([rule('pass', { peers }), rule('accept')])], { labels: {} });
  assert.deepEqual(
    tier?.steps.map(({ action, group }) => [action, group?.key]),
    [
      ['pass', clusterGroup(peers).key],
      ['deny', clusterGroup(peers, undefined, 'denied').key],
      ['accept', clusterGroup([{ namespaces: [] }]).key],
    ],
  );
});

test('rules beyond the limit deny everything, and the limit is shared by the pods of the node', () => {
  const ports = Array.from({ length: 25 }, (_, at) => ({
    ...{ protocol: 'tcp' as const, port: { low: at + 1, high: at + 1 } },
  }));
  const large = policy(Array.from({ length: 25 }, () => rule('accept', { ports })));
  assert.equal(
    evaluated(
      Array.from({ length: 6 }, () => large),
      { labels: {} },
    )?.steps.length,
    3750,
  );
  const tooMany = evaluated(
    Array.from({ length: 7 }, () => large),
    { labels: {} },
  );
  assert.deepEqual(actions(tooMany), [['deny', false]]);
  assert.match(tooMany?.unreadable?.[0] ?? '', /more than 4096 rules and ports/u);
  assert.deepEqual(
    actions(
      evaluated(
        Array.from({ length: 6 }, () => large),
        { labels: {}, pods: 110 },
      ),
    ),
    [['deny', false]],
  );
});

test('a named port is that of each peer for egress, in any protocol', () => {
  const tier = evaluated([policy([rule('accept', { ports: [{ named: 'web' }] })])], { labels: {} });
  assert.deepEqual(
    tier?.steps.map(({ protocol, group }) => [protocol, group?.withPorts]),
    [
      ['tcp', true],
      ['udp', true],
      ['sctp', true],
    ],
  );
});
