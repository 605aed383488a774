import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import type { FileReading } from './join.ts';
import { join } from './join.ts';
import { readFile } from './read.ts';

const read = (text: string) => readFile({ file: 'p.yaml', text });
const policy = (spec: string, name = 'a', namespace = 'shop'): string =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: ${namespace} }\nspec: ${spec}\n`;
const whole = (text: string): FileReading => {
  const result = read(text);
  assert.ok('policies' in result, JSON.stringify(result));
  return result;
};
const unreadable = (text: string): string => {
  const result = read(text);
  assert.ok('unreadable' in result, `read: ${JSON.stringify(text)}`);
  return result.unreadable.join('\n');
};

test('the default policyTypes are Ingress, and Egress if there are egress rules; given policyTypes take precedence', () => {
  const rows: readonly (readonly [spec: string, ingress: number | undefined, egress: number | undefined])[] =
    [
      ['{ podSelector: {} }', 0, undefined],
      ['{ podSelector: {}, egress: [] }', 0, undefined],
      ['{ podSelector: {}, egress: [{}] }', 0, 1],
      ['{ podSelector: {}, policyTypes: [Egress] }', undefined, 0],
      ['{ podSelector: {}, policyTypes: [Egress], ingress: [{}] }', undefined, 0],
      ['{ podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}] }', 1, 0],
      ['{ podSelector: {}, policyTypes: [] }', 0, undefined],
      ['{ podSelector: {}, policyTypes: }', 0, undefined],
      ['{}', 0, undefined],
    ];
  for (const [spec, ingress, egress] of rows) {
    const { policies, problems } = whole(policy(spec));
    assert.deepEqual(
      [policies[0]?.ingress?.length, policies[0]?.egress?.length, problems],
      [ingress, egress, []],
      spec,
    );
  }
});

test('an empty, partly written or foreign file does not count as a list of policies; an empty List means no policies', () => {
  const good = policy('{}');
  for (const empty of [
    '',
    ' \n\t\n',
    '---\n',
    '---',
    '# kubectl get networkpolicies\n',
    '---\n# x\n---\n',
    '...\n',
    '\uFEFF',
    '%YAML 1.2\n---\n',
  ])
    assert.match(
      unreadable(empty),
      /p\.yaml:\d+:1: the (?:file|document) is empty; write a List/u,
      JSON.stringify(empty),
    );
  for (const other of ['null\n', '~\n', '[]\n', '5\n', '""\n', `${good}---\nnull\n`])
    assert.match(unreadable(other), /is not an object/u, other);
  assert.match(unreadable(`${good}---\n---\n${good}`), /p\.yaml:5:1: the document is empty/u);
  // A chart's template that is switched off leaves its comment. A truncated file has no complete document
  // after it.
  for (const text of [
    `---\n# Source: a.yaml\n---\n${good}`,
    `${good}---\n# Source: b.yaml\n\n---\n${policy('{}', 'b')}`,
  ])
    assert.doesNotThrow(() => whole(text), text);
  assert.match(unreadable(`${good}---\n# Source: b.yaml\n---\nkind: NetworkPolicy\nspec: [`), /p\.yaml:/u);
  assert.match(unreadable(`${good}---\nkind: NetworkPolicy\nspec: [`), /p\.yaml:/u);
  assert.match(
    unreadable(`${good}---\napiVersion: v1\nkind: Secret\nmetadata: { name: x }\n`),
    /only NetworkPolicy, Namespace and List/u,
  );
  // A document that is cut off in the middle.
  assert.match(
    unreadable(`${good}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: b }\n`),
    /has no spec/u,
  );
  assert.match(
    unreadable(`${good}---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n`),
    /has no metadata\.name/u,
  );
  assert.match(
    unreadable(`apiVersion: v1\nitems:\n- ${JSON.stringify({ kind: 'NetworkPolicy' })}\n`),
    /only NetworkPolicy/u,
  );
  assert.match(unreadable('apiVersion: v1\nkind: List\n'), /no list of items/u);
  assert.match(unreadable('apiVersion: v1\nkind: List\nitems:\n'), /no list of items/u);
  assert.match(unreadable('apiVersion: v1\nkind: List\nitems: [null]\n'), /not an object/u);
  assert.match(
    unreadable('apiVersion: v1\nkind: List\nmetadata: { continue: abc }\nitems: []\n'),
    /one page of several/u,
  );
  assert.match(unreadable('apiVersion: v1\nkind: PodList\nitems: []\n'), /only lists of/u);
  for (const none of [
    'apiVersion: v1\nkind: List\nitems: []\n',
    '{"apiVersion":"v1","kind":"List","items":[],"metadata":{"resourceVersion":""}}',
  ])
    assert.deepEqual(whole(none), { policies: [], namespaces: [], problems: [] });
  assert.equal(whole(`---\n${good}---\n`).policies.length, 1);
  assert.equal(whole(`# made by hand\n---\n# of the shop\n${good}---\n# the end\n`).policies.length, 1);
});

test('objects that the API accepts are understood', () => {
  const spec = (written: string): unknown => {
    const { policies, problems } = whole(policy(written));
    assert.deepEqual(problems, [], written);
    return policies[0];
  };
  const base = { namespace: 'shop', name: 'a', podSelector: [] };
  const peer = (block: string): unknown => spec(`{ ingress: [{ from: [{ ipBlock: ${block} }] }] }`);
  const blocks: readonly (readonly [written: string, cidr: string, except?: readonly string[]])[] = [
    ['{ cidr: 10.0.0.5/24 }', '10.0.0.0/24'],
    ['{ cidr: 10.1.2.3/32 }', '10.1.2.3/32'],
    ['{ cidr: 10.1.2.3/0 }', '0.0.0.0/0'],
    ['{ cidr: 010.0.0.0/08 }', '10.0.0.0/8'],
    ['{ cidr: "2001:db8::1/32" }', '2001:db8::/32'],
    ['{ cidr: "::/0" }', '::/0'],
    ['{ cidr: "::ffff:10.0.0.5/120" }', '10.0.0.0/24'],
    ['{ cidr: "::ffff:a00:5/120" }', '10.0.0.0/24'],
    ['{ cidr: "64:ff9b::10.0.0.0/104" }', '64:ff9b::a00:0/104'],
    [
      '{ cidr: 10.0.0.5/8, except: [10.1.2.3/16, 10.2.0.9/24] }',
      '10.0.0.0/8',
      ['10.1.0.0/16', '10.2.0.0/24'],
    ],
    ['{ cidr: "fd00::/8", except: ["fd00:1::5/64"] }', 'fd00::/8', ['fd00:1::/64']],
    ['{ cidr: 10.0.0.0/8, except: }', '10.0.0.0/8'],
  ];
  for (const [written, cidr, except = []] of blocks)
    assert.deepEqual(peer(written), { ...base, ingress: [{ peers: [{ cidr, except }] }] }, written);
  const ports = (written: string): unknown =>
    spec(`{ egress: [{ ports: ${written} }], policyTypes: [Egress] }`);
  const portRows: readonly (readonly [written: string, ports: readonly object[] | undefined])[] = [
    ['[]', undefined],
    ['', undefined],
    ['[{}]', [{ protocol: 'tcp' }]],
    ['[{ protocol: SCTP }]', [{ protocol: 'sctp' }]],
    ['[{ protocol: UDP, port: 53 }]', [{ protocol: 'udp', port: { low: 53, high: 53 } }]],
    ['[{ port: 80, endPort: 80 }]', [{ protocol: 'tcp', port: { low: 80, high: 80 } }]],
    ['[{ port: 1, endPort: 65535 }]', [{ protocol: 'tcp', port: { low: 1, high: 65535 } }]],
    ['[{ port: http-alt }]', [{ protocol: 'tcp', port: 'http-alt' }]],
  ];
  for (const [written, found] of portRows)
    assert.deepEqual(
      ports(written),
      { ...base, egress: [found === undefined ? {} : { ports: found }] },
      written,
    );
  // Members that are null count as absent, like a YAML member without a value.
  assert.deepEqual(spec('{ podSelector: , ingress: [{ from: , ports: }], egress: }'), {
    ...base,
    ingress: [{}],
  });
  assert.deepEqual(
    spec('{ podSelector: { matchLabels: , matchExpressions: [{ key: a, operator: Exists, values: }] } }'),
    {
      ...base,
      podSelector: [{ key: 'a', operator: 'Exists', values: [] }],
      ingress: [],
    },
  );
  assert.deepEqual(
    spec(
      '{ ingress: [{ from: [{ podSelector: {}, namespaceSelector: { matchLabels: { a.b/c: d } } }, { namespaceSelector: {} }] }] }',
    ),
    {
      ...base,
      ingress: [
        {
          peers: [
            { pods: [], namespaces: [{ key: 'a.b/c', operator: 'In', values: ['d'] }] },
            { namespaces: [] },
          ],
        },
      ],
    },
  );
  const operators = ['In, values: [b, c]', 'NotIn, values: [b]', 'Exists', 'DoesNotExist'];
  for (const each of operators)
    spec(`{ podSelector: { matchExpressions: [{ key: a, operator: ${each} }] } }`);
  // The API kept such values from times when they were allowed: no label has them.
  spec(`{ podSelector: { matchLabels: { a: ${'x'.repeat(300)} } } }`);
});

test('an object with all fields that the API adds is understood', () => {
  const { policies, problems, namespaces } = whole(
    JSON.stringify({
      kind: 'NetworkPolicyList',
      apiVersion: 'networking.k8s.io/v1',
      metadata: { resourceVersion: '1', continue: '' },
      items: [
        {
          metadata: {
            name: 'x',
            namespace: 'shop',
            uid: 'u',
            labels: { a: 'b' },
            managedFields: [{ fieldsV1: { 'f:spec': {} } }],
            ownerReferences: null,
          },
          spec: { podSelector: {}, policyTypes: ['Ingress'] },
          status: {},
        },
      ],
    }),
  );
  assert.deepEqual(
    [problems, namespaces, policies],
    [[], [], [{ namespace: 'shop', name: 'x', podSelector: [], ingress: [] }]],
  );
  const list = whole(
    'apiVersion: v1\nkind: List\nitems:\n  - { apiVersion: v1, kind: Namespace, metadata: { name: shop, labels: { team: a } }, spec: { finalizers: [kubernetes] }, status: { phase: Active } }\n',
  );
  assert.deepEqual(list.namespaces, [['shop', { team: 'a' }]]);
});

test('an invalid object is reported with its place and isolates the pods that it may select; other objects of the file apply', () => {
  const selected = '{ podSelector: { matchLabels: { app: web } }, ';
  const rows: readonly (readonly [spec: string, said: RegExp])[] = [
    [`${selected}ingres: [] }`, /p\.yaml:9:\d+: spec\.ingres: .*unknown/u],
    [`${selected}ingress: [null] }`, /spec\.ingress/u],
    [`${selected}ingress: [{ from: [{}] }] }`, /spec\.ingress/u],
    [`${selected}ingress: [{ to: [] }] }`, /unknown/u],
    [
      `${selected}ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: [11.0.0.0/8] } }] }] }`,
      /11\.0\.0\.0\/8 is not within/u,
    ],
    [
      `${selected}ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8, except: ["fd00::/64"] } }] }] }`,
      /is not within/u,
    ],
    [`${selected}ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/33 } }] }] }`, /is not a block/u],
    [`${selected}ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0 } }] }] }`, /is not a block/u],
    [`${selected}ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8 " } }] }] }`, /is not a block/u],
    [`${selected}ingress: [{ from: [{ ipBlock: { cidr: "::ffff:300.0.0.0/104" } }] }] }`, /is not a block/u],
    [
      `${selected}ingress: [{ from: [{ ipBlock: { cidr: 10.0.0.0/8 }, podSelector: {} }] }] }`,
      /either an ipBlock/u,
    ],
    [`${selected}ingress: [{ ports: [{ port: http, endPort: 3 }] }] }`, /endPort needs/u],
    [`${selected}ingress: [{ ports: [{ endPort: 3 }] }] }`, /endPort needs/u],
    [`${selected}ingress: [{ ports: [{ port: 90, endPort: 80 }] }] }`, /lower than port 90/u],
    [`${selected}ingress: [{ ports: [{ port: "80" }] }] }`, /not a port name/u],
    [`${selected}ingress: [{ ports: [{ port: a--b }] }] }`, /not a port name/u],
    [`${selected}ingress: [{ ports: [{ port: 0 }] }] }`, /spec\.ingress/u],
    [`${selected}ingress: [{ ports: [{ port: 65536 }] }] }`, /spec\.ingress/u],
    [`${selected}ingress: [{ ports: [{ protocol: ICMP }] }] }`, /spec\.ingress/u],
    [`${selected}policyTypes: [Both] }`, /spec\.policyTypes/u],
  ];
  for (const [spec, said] of rows) {
    const { policies, problems } = whole(`${policy('{}', 'good')}---\n${policy(spec, 'bad')}`);
    assert.match(problems.join('\n'), said, spec);
    const [good, bad] = policies;
    assert.deepEqual(good, { namespace: 'shop', name: 'good', podSelector: [], ingress: [] });
    const podSelector = [{ key: 'app', operator: 'In', values: ['web'] }];
    assert.deepEqual(
      { ...bad, unreadable: '' },
      { namespace: 'shop', name: 'bad', podSelector, ingress: [], egress: [], unreadable: '' },
      spec,
    );
    assert.match(bad?.unreadable ?? '', said);
  }
});

test('an unreadable part of an object selects all; readable policyTypes limit it', () => {
  const bad = (text: string): unknown => whole(text).policies.map(({ unreadable: _why, ...rest }) => rest);
  const both = { ingress: [], egress: [] };
  for (const selector of [
    '[]',
    '{ matchLabels: { a: 1 } }',
    '{ matchLabel: {} }',
    '{ matchExpressions: [{ key: a, operator: Is }] }',
    '{ matchExpressions: [{ key: a, operator: In }] }',
    '5',
  ])
    assert.deepEqual(
      bad(policy(`{ podSelector: ${selector} }`)),
      [{ namespace: 'shop', name: 'a', podSelector: [], ...both }],
      selector,
    );
  assert.deepEqual(bad(policy('{ policyTypes: [Egress], egres: [] }')), [
    { namespace: 'shop', name: 'a', podSelector: [], egress: [] },
  ]);
  assert.deepEqual(bad(policy('{ x: 1 }', 'a', '[]')), [{ name: 'a', podSelector: [], ...both }]);
  assert.deepEqual(bad(policy('{ x: 1 }', 'a', '')), [
    { namespace: 'default', name: 'a', podSelector: [], ...both },
  ]);
  assert.deepEqual(bad(policy('{}').replace('networking.k8s.io/v1', 'projectcalico.org/v3')), [
    { namespace: 'shop', name: 'a', podSelector: [], ...both },
  ]);
  assert.deepEqual(
    whole('apiVersion: v1\nkind: Namespace\nmetadata: { name: n, labels: { a: 1 } }\n').namespaces,
    [['n', 'unknown']],
  );
});

test('an object that occurs twice counts once if both are equal, and isolates otherwise; labels of a namespace that differ are not known', () => {
  const [one, same, other] = [whole(policy('{}')), whole(policy('{}')), whole(policy('{ ingress: [{}] }'))];
  assert.deepEqual(join([one, same]).problems, []);
  assert.equal(join([one, same]).set.policies.length, 1);
  const differing = join([one, other]);
  assert.match(differing.problems.join(), /shop\/a occurs twice/u);
  assert.ok(
    differing.set.policies.every(
      ({ unreadable: why, ingress }) => why !== undefined && ingress?.length === 0,
    ),
  );
  const namespace = (team: string): FileReading =>
    whole(`apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { team: ${team}, x: y } }\n`);
  assert.deepEqual(join([namespace('a'), namespace('a')]).set.namespaces.get('shop'), { team: 'a', x: 'y' });
  const [labels, problems] = [
    join([namespace('a'), namespace('b')]).set.namespaces,
    join([namespace('a'), namespace('b')]).problems,
  ];
  assert.deepEqual([labels.get('shop'), problems.length], ['unknown', 1]);
});

test('several files form one set', () => {
  const files = [whole(policy('{}')), whole(policy('{}', 'b'))];
  assert.deepEqual(
    join(files).set.policies.map(({ name }) => name),
    ['a', 'b'],
  );
});

/** As `kubectl get networkpolicies -A -o yaml` writes them. */
const dump = (count: number, form: 'yaml' | 'json'): string => {
  const one = (index: number): object => ({
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: {
      annotations: { 'kubectl.kubernetes.io/last-applied-configuration': `${'x'.repeat(300)}\n` },
      name: `allow-${index}`,
      namespace: `team-${index % 50}`,
      uid: '11111111-2222-3333-4444-555555555555',
    },
    spec: {
      ingress: [
        {
          from: [
            { podSelector: { matchLabels: { app: 'frontend' } } },
            { ipBlock: { cidr: `10.0.${index % 250}.0/24` } },
          ],
          ports: [{ port: 80 }],
        },
      ],
      podSelector: { matchLabels: { app: 'api' } },
      policyTypes: ['Ingress'],
    },
  });
  const items = Array.from({ length: count }, (_, index) => one(index));
  if (form === 'json') return JSON.stringify({ apiVersion: 'v1', items, kind: 'List' }, null, 2);
  const yaml = items.map((item) => `- ${JSON.stringify(item, null, 2).replaceAll('\n', '\n  ')}\n`).join('');
  return `apiVersion: v1\nitems:\n${yaml}kind: List\nmetadata:\n  resourceVersion: ""\n`;
};

test('2,000 policies in one dump are read, each as in a small file, and reported positions refer to the dump', () => {
  const small = whole(dump(20, 'yaml'));
  for (const form of ['yaml', 'json'] as const) {
    const text = dump(2000, form);
    assert.ok(text.length > 1024 * 1024);
    const { policies, problems } = whole(text);
    assert.deepEqual([policies.length, problems], [2000, []]);
    assert.deepEqual(policies.slice(0, 20), small.policies);
  }
  const lines = dump(2000, 'yaml').split('\n');
  const at = lines.findIndex((line, index) => index > lines.length / 2 && line.includes('"podSelector": {'));
  const { problems, policies } = whole(
    lines.with(at, (lines[at] ?? '').replace('podSelector', 'podSelecto')).join('\n'),
  );
  assert.equal(policies.filter(({ unreadable: why }) => why !== undefined).length, 1);
  assert.match(problems[0] ?? '', new RegExp(`^p\\.yaml:${at + 1}:`, 'u'));
  // When it is cut off anywhere, it is unreadable.
  const text = dump(2000, 'yaml');
  for (const part of [0.1, 0.5, 0.9])
    assert.ok(unreadable(text.slice(0, Math.floor(text.length * part))).length > 0);
  assert.match(unreadable(text.slice(0, text.lastIndexOf('kind: List'))), /p\.yaml/u);
  assert.match(unreadable(dump(2000, 'json').slice(0, -30)), /not JSON/u);
});

test('reading takes time in proportion to the text', async () => {
  for (const form of ['yaml', 'json'] as const)
    await assertNearLinearWork(
      `NetworkPolicies in ${form}`,
      (count) => {
        const text = dump(count, form);
        return () => whole(text);
      },
      { n: 250 },
    );
});

test('a label without a value is an empty label, as in the API: it does not select every pod', () => {
  const spec =
    '{ podSelector: { matchLabels: { app: } }, ingress: [{ from: [{ podSelector: { matchLabels: { app: } } }] }] }';
  const empty = [{ key: 'app', operator: 'In', values: [''] }];
  const { policies, problems } = whole(policy(spec));
  assert.deepEqual(problems, []);
  assert.deepEqual(policies[0]?.podSelector, empty);
  assert.deepEqual(policies[0]?.ingress, [{ peers: [{ pods: empty }] }]);
  const namespace = 'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { team: } }\n';
  assert.deepEqual(whole(namespace).namespaces, [['shop', { team: '' }]]);
  const wrong = whole(policy('{ podSelector: { matchLabels: { app: [null] } } }'));
  assert.match(wrong.problems.join(), /matchLabels/u);
});
