import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ClusterRule } from './cluster-network-policy.ts';
import { orderPolicies } from './cluster-network-policy.ts';
import { readClusterPolicy } from './read-cluster-policy.ts';

const everyone = [{ namespaces: {} }];
const object = (spec: object): object => ({
  metadata: { name: 'p' },
  spec: { tier: 'Admin', priority: 5, subject: { namespaces: {} }, ...spec },
});
/** Reads one rule of egress. */
const ruleOf = (
  rule: object,
): { readonly rules: readonly ClusterRule[]; readonly problem: string | undefined } => {
  const read = readClusterPolicy(object({ egress: [rule] }));
  assert.ok(read);
  return { rules: read.policy.egress, problem: read.problem };
};

test('a policy with every field of the API is read as it is written', () => {
  const read = readClusterPolicy(
    object({
      ingress: [
        {
          name: 'in',
          action: 'Pass',
          from: [{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { a: 'b' } } } }],
        },
      ],
      egress: [
        {
          action: 'Deny',
          to: [{ nodes: {} }, { networks: ['10.0.0.5/24', 'fd00::/8'] }],
          protocols: [
            { tcp: {} },
            { udp: { destinationPort: { number: 53 } } },
            { sctp: { destinationPort: { range: { start: 1, end: 9 } } } },
          ],
        },
        { action: 'Accept', to: everyone, protocols: [{ destinationNamedPort: 'web' }] },
      ],
    }),
  );
  assert.equal(read?.problem, undefined);
  assert.deepEqual(read?.policy, {
    ...{ name: 'p', tier: 'admin', priority: 5, subject: { namespaces: [] } },
    ingress: [
      {
        action: 'pass',
        name: 'in',
        peers: [{ namespaces: [], pods: [{ key: 'a', operator: 'In', values: ['b'] }] }],
      },
    ],
    egress: [
      {
        action: 'deny',
        name: 'egress rule 1',
        peers: [{ nodes: [] }, { cidr: '10.0.0.0/24', except: [] }, { cidr: 'fd00::/8', except: [] }],
        ports: [
          { protocol: 'tcp' },
          { protocol: 'udp', port: { low: 53, high: 53 } },
          { protocol: 'sctp', port: { low: 1, high: 9 } },
        ],
      },
      { action: 'accept', name: 'egress rule 2', peers: [{ namespaces: [] }], ports: [{ named: 'web' }] },
    ],
  });
});

test('a rule that is not understood accepts nothing, or denies everything', () => {
  const peers: readonly unknown[] = [
    [],
    undefined,
    [{}],
    [{ services: {} }],
    [{ namespaces: {}, nodes: {} }],
    [{ namespaces: { matchNames: ['a'] } }],
    [{ pods: { namespaceSelector: {} } }],
    [{ networks: ['10.0.0.0'] }],
    [{ networks: [] }],
    Array.from({ length: 26 }, () => ({ namespaces: {} })),
    // The other peer is understood, but not the rule.
    [...everyone, { services: {} }],
  ];
  const rules = [
    ...peers.map((to) => ({ to })),
    ...[[], [{}], [{ icmp: {} }], [{ tcp: { sourcePort: 1 } }], [{ tcp: { destinationPort: {} } }]].map(
      (protocols) => ({
        to: everyone,
        protocols,
      }),
    ),
    { to: everyone, protocols: [{ tcp: { destinationPort: { number: 0 } } }] },
    { to: everyone, protocols: [{ tcp: { destinationPort: { range: { start: 9, end: 1 } } } }] },
    { to: [{ nodes: {} }], protocols: [{ destinationNamedPort: 'web' }] },
    { to: everyone, except: everyone },
  ];
  for (const rule of rules) {
    const accepting = ruleOf({ action: 'Accept', ...rule });
    assert.deepEqual(accepting.rules, [], JSON.stringify(rule));
    assert.match(accepting.problem ?? '', /ClusterNetworkPolicy p: spec.egress\[0\]: .* it accepts nothing/u);
    for (const action of ['Deny', 'Pass', 'Log']) {
      const { rules: found, problem } = ruleOf({ action, ...rule });
      assert.deepEqual(
        found.map(({ action: what, peers: who, ports }) => [what, who, ports]),
        [['deny', undefined, undefined]],
        JSON.stringify(rule),
      );
      assert.match(problem ?? '', /everything is denied/u);
    }
  }
});

test('domain names are reported: they are not supported, and accept nothing', () => {
  const { rules, problem } = ruleOf({ action: 'Accept', to: [{ domainNames: ['*.example.com'] }] });
  assert.deepEqual(rules, []);
  assert.match(problem ?? '', /domain names, which are not supported/u);
});

test('networks and nodes are peers only in egress rules', () => {
  for (const peer of [{ networks: ['10.0.0.0/8'] }, { nodes: {} }, { domainNames: ['a.example'] }]) {
    const read = readClusterPolicy(object({ ingress: [{ action: 'Deny', from: [peer] }] }));
    assert.deepEqual(
      read?.policy.ingress.map(({ action, peers }) => [action, peers]),
      [['deny', undefined]],
    );
  }
});

test('a subject that is not understood selects every pod, such a tier counts as Admin, and such a list denies everything', () => {
  const of = (spec: object): ReturnType<typeof readClusterPolicy> => readClusterPolicy(object(spec));
  for (const subject of [undefined, {}, { services: {} }, { namespaces: {}, pods: {} }])
    assert.deepEqual(of({ subject })?.policy.subject, { namespaces: [] });
  assert.equal(of({ tier: 'Other' })?.policy.tier, 'admin');
  for (const priority of [-1, 1001, 1.5, '7']) assert.equal(of({ priority })?.policy.priority, 1000);
  for (const egress of [{}, 'x', Array.from({ length: 26 }, () => ({ action: 'Accept', to: everyone }))])
    assert.deepEqual(
      of({ egress })?.policy.egress.map(({ action, peers }) => [action, peers]),
      [['deny', undefined]],
    );
  const rules = [
    { action: 'Accept', to: everyone },
    { action: 'Pass', to: everyone },
  ];
  assert.deepEqual(
    of({ egress: rules, except: {} })?.policy.egress.map(({ action }) => action),
    ['deny'],
  );
  for (const value of [undefined, 7, {}, { metadata: {} }]) assert.equal(readClusterPolicy(value), undefined);
});

test('a policy whose tier, priority or subject is not understood accepts nothing and passes nothing', () => {
  const to = [{ networks: ['10.0.0.0/8'] }];
  const egress = ['Accept', 'Deny', 'Pass'].map((action) => ({ action, to }));
  for (const spec of [{ subject: { services: {} } }, { tier: 'Other' }, { priority: 1001 }])
    assert.deepEqual(
      readClusterPolicy(object({ egress, ...spec }))?.policy.egress.map(({ action, peers }) => [
        action,
        peers,
      ]),
      [
        ['deny', [{ cidr: '10.0.0.0/8', except: [] }]],
        ['deny', [{ cidr: '10.0.0.0/8', except: [] }]],
      ],
      JSON.stringify(spec),
    );
});

test('policies come in the order of their priorities, and by their names within one', () => {
  const named = (name: string, priority: number, tier = 'Admin'): object => ({
    metadata: { name },
    spec: { tier, priority, subject: { namespaces: {} } },
  });
  const policies = [named('b', 9), named('a', 9), named('c', 0), named('d', 1, 'Baseline')].flatMap(
    (one) => readClusterPolicy(one)?.policy ?? [],
  );
  const { admin, baseline } = orderPolicies(policies);
  assert.deepEqual(
    [admin, baseline].map((tier) => tier.map(({ name }) => name)),
    [['c', 'a', 'b'], ['d']],
  );
});
