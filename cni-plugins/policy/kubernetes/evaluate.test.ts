import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { assertNearLinearWork } from '../../../test/fixtures/cost.ts';
import { parseIp } from '../../../base/addresses/index.ts';
import { intervalOf } from '../rules/intervals.ts';
import type { Direction } from '../rules/pod-chains.ts';
import { evaluate, grants } from './evaluate.fixture.ts';
import { mostBlocks } from './evaluate.ts';
import { mostGrants } from './grant-limits.ts';
import type { PolicyPod } from './evaluate.ts';
import type {
  Labels,
  NetworkPolicy,
  Peer,
  PolicyPort,
  PolicyRule,
  PolicySet,
  Selector,
} from './network-policy.ts';

/**
 * Judges every connection of a small world twice: by the compiled grants, and literally as Kubernetes'
 * documentation defines it.
 */

interface Connection {
  readonly from: string;
  readonly to: string;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
}

const labelKeys = ['app', 'tier'];
const values = ['a', 'b'];
const labels = fc.dictionary(fc.constantFrom(...labelKeys), fc.constantFrom(...values), { maxKeys: 2 });
const selector: fc.Arbitrary<Selector> = fc.array(
  fc.record({
    key: fc.constantFrom(...labelKeys, 'kubernetes.io/metadata.name'),
    operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist'),
    values: fc.subarray([...values, 'n1', 'n2'], { minLength: 1 }),
  }),
  { maxLength: 2 },
);
const peer: fc.Arbitrary<Peer> = fc.oneof(
  fc.record({ pods: selector }),
  fc.record({ namespaces: selector }),
  fc.record({ pods: selector, namespaces: selector }),
  fc.constantFrom<Peer>(
    { cidr: '10.0.0.0/30', except: ['10.0.0.2/32'] },
    { cidr: '0.0.0.0/0', except: ['10.0.0.0/29'] },
    { cidr: 'fd00::/126', except: [] },
  ),
);
const port: fc.Arbitrary<PolicyPort> = fc.record(
  {
    protocol: fc.constantFrom('tcp', 'udp'),
    port: fc.constantFrom<NonNullable<PolicyPort['port']>>(
      { low: 80, high: 80 },
      { low: 80, high: 90 },
      'web',
      'dns',
    ),
  },
  { requiredKeys: ['protocol'] },
);
const rule: fc.Arbitrary<PolicyRule> = fc.record(
  {
    peers: fc.array(peer, { minLength: 1, maxLength: 2 }),
    ports: fc.array(port, { minLength: 1, maxLength: 2 }),
  },
  { requiredKeys: [] },
);
const policies: fc.Arbitrary<NetworkPolicy[]> = fc
  .array(
    fc.record(
      {
        namespace: fc.constantFrom('n1', 'n2'),
        podSelector: selector,
        ingress: fc.array(rule, { maxLength: 2 }),
        egress: fc.array(rule, { maxLength: 2 }),
      },
      { requiredKeys: ['namespace', 'podSelector'] },
    ),
    { maxLength: 4 },
  )
  .map((list) => list.map((policy, index) => ({ ...policy, name: `p${index}` })));
const world = fc.record({
  pods: fc.array(
    fc.record({
      namespace: fc.constantFrom('n1', 'n2'),
      labels,
      namedPorts: fc.subarray<PolicyPod['namedPorts'][number]>([
        { name: 'web', protocol: 'tcp', port: 80 },
        { name: 'web', protocol: 'tcp', port: 81 },
        { name: 'dns', protocol: 'udp', port: 53 },
      ]),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  policies,
  namespaces: fc
    .dictionary(fc.constantFrom('n1', 'n2'), labels)
    .map((found) => new Map(Object.entries(found))),
});

const selected = (selector_: Selector, of: Labels): boolean =>
  selector_.every(({ key, operator, values: wanted }) => {
    const has = Object.keys(of).includes(key);
    switch (operator) {
      case 'Exists':
        return has;
      case 'DoesNotExist':
        return !has;
      case 'In':
        return has && wanted.includes(of[key] ?? '');
      case 'NotIn':
        return !has || !wanted.includes(of[key] ?? '');
    }
  });

const inBlock = (address: string, block: string): boolean => {
  const [at, within] = [parseIp(address), intervalOf(block)];
  return (
    at !== undefined &&
    within?.family === at.family &&
    within.interval.low <= at.value &&
    at.value <= within.interval.high
  );
};

function documented(
  { policies: all, namespaces }: PolicySet,
  pods: readonly PolicyPod[],
  connection: Connection,
  direction: Direction,
): boolean {
  const podAt = (address: string): PolicyPod | undefined =>
    pods.find(({ addresses }) => addresses.includes(address));
  const [own, other] =
    direction === 'egress' ? [connection.from, connection.to] : [connection.to, connection.from];
  const pod = podAt(own);
  if (pod === undefined || podAt(other) === pod) return true;
  const isolating = all.filter(
    (policy) =>
      policy.namespace === pod.namespace &&
      selected(policy.podSelector, pod.labels) &&
      policy[direction] !== undefined,
  );
  if (isolating.length === 0) return true;
  const answering = podAt(connection.to);
  const namespaceLabels = (name: string): Labels => ({
    ...(namespaces.get(name) as Labels | undefined),
    'kubernetes.io/metadata.name': name,
  });
  const peerMatches = (one: Peer, namespace: string | undefined): boolean => {
    if ('cidr' in one) return inBlock(other, one.cidr) && !one.except.some((hole) => inBlock(other, hole));
    const found = podAt(other);
    if (found === undefined || 'nodes' in one) return false;
    const right =
      one.namespaces === undefined
        ? found.namespace === namespace
        : selected(one.namespaces, namespaceLabels(found.namespace));
    return right && selected(one.pods ?? [], found.labels);
  };
  const portMatches = (one: PolicyPort): boolean => {
    if (one.protocol !== connection.protocol) return false;
    if (one.port === undefined) return true;
    if (typeof one.port !== 'string')
      return one.port.low <= connection.port && connection.port <= one.port.high;
    return (answering?.namedPorts ?? []).some(
      ({ name, protocol, port: number }) =>
        name === one.port && protocol === connection.protocol && number === connection.port,
    );
  };
  return isolating.some((policy) =>
    (policy[direction] ?? []).some(
      ({ peers, ports }) =>
        (peers === undefined || peers.some((one) => peerMatches(one, policy.namespace))) &&
        (ports === undefined || ports.some(portMatches)),
    ),
  );
}

test('the compiled rules grant what the documentation grants, and nothing else', () => {
  fc.assert(
    fc.property(world, ({ pods: described, ...set }) => {
      const pods = described.map((pod, index): PolicyPod => ({
        ...pod,
        addresses: [`10.0.0.${index + 1}`, `fd00::${index + 1}`],
      }));
      const layers = evaluate(set, pods);
      const outside = ['10.0.0.6', '10.0.0.9', 'fd00::9'];
      const everybody = [...pods.flatMap(({ addresses }) => addresses), ...outside];
      for (const from of everybody)
        for (const to of everybody) {
          if (from.includes(':') !== to.includes(':')) continue;
          for (const protocol of ['tcp', 'udp', 'icmp'] as const)
            for (const number of [53, 80, 81, 90, 91]) {
              const connection = { from, to, protocol, port: number };
              for (const direction of ['egress', 'ingress'] as const) {
                const [own, other] = direction === 'egress' ? [from, to] : [to, from];
                const layer = layers[pods.findIndex(({ addresses }) => addresses.includes(own))]?.[direction];
                const compiled =
                  layer === undefined || layer.grants.some((grant) => grants(grant, other, connection));
                assert.equal(
                  compiled,
                  documented(set, pods, connection, direction),
                  JSON.stringify({ connection, direction }),
                );
              }
            }
        }
    }),
    { numRuns: Number(process.env.PORTCULLIS_RUNS ?? 150), seed: 7 },
  );
});

test('policies that cannot be read isolate every pod', () => {
  const pods: PolicyPod[] = [{ namespace: 'n1', labels: {}, addresses: ['10.0.0.1'], namedPorts: [] }];
  const [rules] = evaluate({ policies: [], namespaces: new Map(), isolated: 'broken' }, pods);
  assert.deepEqual([rules?.egress?.denies, rules?.ingress?.denies], ['broken', 'broken']);
});

const single = (namespace: string, podLabels: Labels, index: number): PolicyPod => ({
  namespace,
  labels: podLabels,
  addresses: [`10.0.0.${index}`],
  namedPorts: [],
});
const isolatedBy = (set: PolicySet, pods: readonly PolicyPod[]): (string | undefined)[] =>
  evaluate(set, pods).map(({ ingress }) => ingress?.denies);

test('an object that cannot be understood isolates the pods that it may select, and no others', () => {
  const pods = [single('n1', { app: 'a' }, 1), single('n1', { app: 'b' }, 2), single('n2', { app: 'a' }, 3)];
  const podSelector = [{ key: 'app', operator: 'In', values: ['a'] }] as const;
  const bad = { name: 'x', ingress: [], egress: [], unreadable: 'x.yaml:1:1: why' };
  const set = (policy: PolicySet['policies'][number]): PolicySet => ({
    policies: [policy],
    namespaces: new Map(),
  });
  const rule = 'NetworkPolicy n1/x (cannot be understood)';
  assert.deepEqual(isolatedBy(set({ ...bad, namespace: 'n1', podSelector }), pods), [
    rule,
    undefined,
    undefined,
  ]);
  assert.deepEqual(isolatedBy(set({ ...bad, namespace: 'n1', podSelector: [] }), pods), [
    rule,
    rule,
    undefined,
  ]);
  const everywhere = 'NetworkPolicy */x (cannot be understood)';
  assert.deepEqual(isolatedBy(set({ ...bad, podSelector }), pods), [everywhere, undefined, everywhere]);
  // Connections that other policies allow stay allowed: a policy of the API never removes a permission.
  const other = {
    namespace: 'n1',
    name: 'y',
    podSelector: [],
    ingress: [{ peers: [{ cidr: '10.9.0.0/16', except: [] }] }],
  };
  const [first] = evaluate(
    { policies: [{ ...bad, namespace: 'n1', podSelector }, other], namespaces: new Map() },
    pods,
  );
  assert.deepEqual(
    first?.ingress?.grants.map(({ name }) => name),
    ['n1/y', 'itself'],
  );
  assert.deepEqual(first?.ingress?.unreadable, ['x.yaml:1:1: why']);
});

test('a namespace whose labels are not known is selected by its name and by a selector of all, and by no other', () => {
  const pods = [single('n1', {}, 1), single('n2', {}, 2)];
  const selects = (namespaces: Selector): boolean => {
    const policy = { namespace: 'n1', name: 'p', podSelector: [], ingress: [{ peers: [{ namespaces }] }] };
    const [first] = evaluate({ policies: [policy], namespaces: new Map([['n2', 'unknown']]) }, pods);
    return (
      first?.ingress?.grants.some((grant) => grants(grant, '10.0.0.2', { protocol: 'tcp', port: 80 })) ===
      true
    );
  };
  assert.equal(selects([]), true);
  assert.equal(selects([{ key: 'kubernetes.io/metadata.name', operator: 'In', values: ['n2'] }]), true);
  for (const operator of ['DoesNotExist', 'NotIn'] as const)
    assert.equal(selects([{ key: 'team', operator, values: operator === 'NotIn' ? ['a'] : [] }]), false);
});

/** The most that the author of one NetworkPolicy may write: the API accepts an object of 1.5 MiB. */
const large = (rules: readonly PolicyRule[]): PolicySet => ({
  policies: [{ namespace: 'n1', name: 'large', podSelector: [], ingress: rules }],
  namespaces: new Map(),
});
const podsOf = (count: number): PolicyPod[] =>
  Array.from({ length: count }, (_, index) => ({
    namespace: 'n1',
    labels: {},
    addresses: [`10.${index >> 8}.${index & 255}.1`],
    namedPorts: [{ name: 'web', protocol: 'tcp', port: 8080 }],
  }));
const blockAt = (index: number): string =>
  `10.${(index >> 15) & 255}.${(index >> 7) & 255}.${(index & 127) * 2}/32`;
const range = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

test('policies that would need more rules or blocks than a pod may have isolate the pod, and the reason is reported', () => {
  const cases: readonly (readonly [what: string, most: number, rules: (count: number) => PolicyRule[]])[] = [
    [
      'rules',
      mostGrants,
      (count) => range(count, (index) => ({ peers: [{ cidr: blockAt(index), except: [] }] })),
    ],
    [
      'ports',
      mostGrants,
      (count) => [
        { ports: range(count, (index) => ({ protocol: 'tcp', port: { low: index + 1, high: index + 1 } })) },
      ],
    ],
    [
      'named ports',
      mostGrants,
      (count) => [{ ports: range(count, () => ({ protocol: 'tcp', port: 'web' })) }],
    ],
    [
      'blocks',
      mostBlocks,
      (count) => [{ peers: range(count, (index) => ({ cidr: blockAt(index), except: [] })) }],
    ],
    [
      'holes',
      mostBlocks,
      (count) => [
        { peers: [{ cidr: '10.0.0.0/8', except: range(count - 1, (index) => blockAt(index + 1)) }] },
      ],
    ],
  ];
  for (const [what, most, rules] of cases) {
    const [fits, beyond] = [most, most + 1].map(
      (count) => evaluate(large(rules(count)), podsOf(1))[0]?.ingress,
    );
    assert.equal(fits?.unreadable, undefined, what);
    assert.ok((fits?.grants.length ?? 0) > 1, what);
    assert.deepEqual(
      beyond?.grants.map(({ name }) => name),
      ['itself'],
      what,
    );
    assert.match(beyond?.unreadable?.[0] ?? '', /more than/u, what);
  }
});

test('port names count towards the limit even if no container has them, because each is looked up at every pod', () => {
  const named = (count: number): PolicySet =>
    large([{ ports: range(count, (index) => ({ protocol: 'tcp', port: `p${index}` })) }]);
  const [fits, beyond] = [mostGrants, mostGrants + 1].map(
    (count) => evaluate(named(count), podsOf(1))[0]?.ingress?.unreadable,
  );
  assert.equal(fits, undefined);
  assert.match(beyond?.[0] ?? '', /more than 4096 rules and ports/u);
});

test('2,000 policies with one rule apply to each of 110 pods of a namespace; with more pods, each pod may have fewer', () => {
  const policies = (count: number): PolicySet => {
    const [policy] = large([]).policies;
    assert.ok(policy !== undefined);
    const rule = (index: number): PolicyRule => ({ peers: [{ cidr: blockAt(index), except: [] }] });
    return {
      policies: range(count, (index) => ({ ...policy, name: `p${index}`, ingress: [rule(index)] })),
      namespaces: new Map(),
    };
  };
  for (const { ingress } of evaluate(policies(2_000), podsOf(110))) {
    assert.equal(ingress?.unreadable, undefined);
    assert.equal(ingress?.grants.length, 2_001);
  }
  for (const { ingress } of evaluate(policies(100), podsOf(3_000)))
    assert.match(ingress?.unreadable?.[0] ?? '', /more than 87 rules/u);
});

test('the cost of a policy is proportional to its size, and to the pods that it selects', async () => {
  const cases: Readonly<Record<string, (n: number) => readonly [PolicySet, PolicyPod[]]>> = {
    'holes of a block': (n) => [
      large([{ peers: [{ cidr: '10.0.0.0/8', except: range(4 * n, blockAt) }] }]),
      podsOf(4),
    ],
    'named ports': (n) => [
      large([{ ports: range(n, (index) => ({ protocol: 'tcp', port: `p${index}` })) }]),
      podsOf(4),
    ],
    'pods that a large policy selects': (n) => [
      large([{ peers: range(500, (index) => ({ cidr: blockAt(index), except: [] })) }]),
      podsOf(n),
    ],
  };
  for (const [what, make] of Object.entries(cases))
    await assertNearLinearWork(
      what,
      (n) => {
        const [
          {
            policies: [policy],
          },
          pods,
        ] = make(n);
        // A new object each time, so that no cached result is found again.
        return () =>
          evaluate(
            { policies: [{ ...policy!, ingress: structuredClone(policy!.ingress!) }], namespaces: new Map() },
            pods,
          );
      },
      { n: 500 },
    );
});
