import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblems } from '../../../base/schema/index.ts';
import { readPolicies } from './read.ts';

const read = (text: string) => readPolicies([{ file: 'p.yaml', text }]);
const policy = (spec: string, name = 'a'): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name} }\nspec: ${spec}\n`;

test('policyTypes: ingress always, egress where there are rules of it; those given count', () => {
  const rows: readonly (readonly [spec: string, ingress: number | undefined, egress: number | undefined])[] = [
    ['{ podSelector: {} }', 0, undefined],
    ['{ podSelector: {}, egress: [] }', 0, undefined],
    ['{ podSelector: {}, egress: [{}] }', 0, 1],
    ['{ podSelector: {}, policyTypes: [Egress] }', undefined, 0],
    ['{ podSelector: {}, policyTypes: [Egress], ingress: [{}] }', undefined, 0],
    ['{ podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}] }', 1, 0],
    ['{}', 0, undefined],
  ];
  for (const [spec, ingress, egress] of rows) {
    const reading = read(policy(spec));
    assert.ok(reading.ok, spec);
    const [found] = reading.set.policies;
    assert.deepEqual([found?.ingress?.length, found?.egress?.length], [ingress, egress], spec);
  }
});

test('what is wrong is told by place, all at once, and nothing is taken', () => {
  const text = `${policy('{ podSelector: {}, ingres: [] }')}---\n${policy(
    '{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/8] } }, { ipBlock: { cidr: 10.0.0.1/8 }, podSelector: {} }, {}], ports: [{ port: http, endPort: 3 }, { port: 90, endPort: 80 }, { protocol: ICMP }, { port: "80" }] }] }',
  )}---\n${policy('{ podSelector: { matchExpressions: [{ key: a, operator: In }, { key: a, operator: Exists, values: [b] }] } }', 'b')}---\n${policy('{}', 'b')}---
apiVersion: v1
kind: Secret
`;
  const reading = read(text);
  assert.ok(!reading.ok);
  const said = formatProblems(reading.problems);
  for (const words of [
    /p\.yaml:4:26: spec\.ingres: .*unknown/u,
    /p\.yaml:9:\d+: .*\n|minProperties|fewer/u,
    /In takes at least one value/u,
    /Exists takes no values/u,
    /default\/b is there twice/u,
    /only NetworkPolicy, Namespace and List/u,
  ])
    assert.match(said, words);
  const second = read(
    policy(
      '{ ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/8] } }, { ipBlock: { cidr: 10.0.0.1/8 } }, { ipBlock: { cidr: 10.0.0.0/8 }, podSelector: {} }], ports: [{ port: http, endPort: 3 }, { port: 90, endPort: 80 }, { port: "80" }] }] }',
    ),
  );
  assert.ok(!second.ok);
  const more = formatProblems(second.problems);
  for (const words of [
    /11\.0\.0\.0\/8 is not within/u,
    /bits set beyond/u,
    /either an ipBlock/u,
    /endPort needs/u,
    /lower than port 90/u,
    /no name of a port/u,
  ])
    assert.match(more, words);
});

test('a List is its items; namespaces bring their labels', () => {
  const reading = read(
    'apiVersion: v1\nkind: List\nitems:\n  - { apiVersion: v1, kind: Namespace, metadata: { name: shop, labels: { team: a } } }\n  - { apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: { name: x, namespace: shop, uid: u }, spec: { podSelector: { matchLabels: { app: web } } } }\n',
  );
  assert.ok(reading.ok);
  assert.deepEqual(reading.set.namespaces.get('shop'), { team: 'a' });
  assert.deepEqual(reading.set.policies, [
    { namespace: 'shop', name: 'x', podSelector: [{ key: 'app', operator: 'In', values: ['web'] }], ingress: [] },
  ]);
});
