import fc from 'fast-check';
import type { ApiCluster, ApiPeer, ApiPod, ApiPolicy, ApiRule, ApiSelector } from './oracle.fixture.ts';

/** Small clusters in which everything that NetworkPolicies can say happens often. */

const keys = ['app', 'tier'];
const values = ['a', 'b'];
const namespaceNames = ['n1', 'n2', 'n3'];
const nodes = ['here', 'there'];
export const protocols = ['TCP', 'UDP', 'SCTP'] as const;
export const ports = [53, 80, 81, 85, 90, 91];
/** Addresses of no pod, within and outside of the blocks below. */
export const otherAddresses = ['10.0.0.14', '10.0.1.1', 'fd00::e', 'fd00::1:1'];

export const labels = fc.dictionary(fc.constantFrom(...keys), fc.constantFrom(...values), { maxKeys: 2 });
export const selector: fc.Arbitrary<ApiSelector> = fc.oneof(
  fc.constant({}),
  fc.record(
    {
      matchLabels: labels,
      matchExpressions: fc.array(
        fc.oneof(
          fc.record({
            key: fc.constantFrom(...keys, 'kubernetes.io/metadata.name'),
            operator: fc.constantFrom('In' as const, 'NotIn' as const),
            values: fc.subarray([...values, 'n1', 'n2'], { minLength: 1 }),
          }),
          fc.record({
            key: fc.constantFrom(...keys),
            operator: fc.constantFrom('Exists' as const, 'DoesNotExist' as const),
          }),
        ),
        { maxLength: 1 },
      ),
    },
    { requiredKeys: [] },
  ),
);
const peer: fc.Arbitrary<ApiPeer> = fc.oneof(
  fc.record({ podSelector: selector }),
  fc.record({ namespaceSelector: selector }),
  fc.record({ podSelector: selector, namespaceSelector: selector }),
  fc.constantFrom<ApiPeer>(
    { ipBlock: { cidr: '10.0.0.0/28', except: ['10.0.0.2/32', '10.0.0.4/30'] } },
    { ipBlock: { cidr: '0.0.0.0/0', except: ['10.0.0.0/29'] } },
    { ipBlock: { cidr: 'fd00::/124', except: ['fd00::2/127'] } },
    { ipBlock: { cidr: '::/0' } },
  ),
);
const port: fc.Arbitrary<NonNullable<ApiRule['ports']>[number]> = fc.oneof(
  fc.record({ protocol: fc.constantFrom(...protocols) }),
  fc.record(
    { protocol: fc.constantFrom(...protocols), port: fc.constantFrom<number | string>(80, 53, 'web', 'dns') },
    { requiredKeys: ['port'] },
  ),
  fc.record({ protocol: fc.constantFrom(...protocols), port: fc.constant(80), endPort: fc.constant(90) }),
);
const rule = (side: 'from' | 'to'): fc.Arbitrary<ApiRule> =>
  fc.record(
    { [side]: fc.array(peer, { maxLength: 2 }), ports: fc.array(port, { maxLength: 2 }) },
    { requiredKeys: [] },
  );
const spec: fc.Arbitrary<ApiPolicy['spec']> = fc.record(
  {
    podSelector: selector,
    policyTypes: fc.subarray(['Ingress', 'Egress'] as const),
    ingress: fc.array(rule('from'), { maxLength: 2 }),
    egress: fc.array(rule('to'), { maxLength: 2 }),
  },
  { requiredKeys: ['podSelector'] },
);
const namedPort = fc.constantFrom<ApiPod['spec']['containers'][number]['ports'][number]>(
  { name: 'web', containerPort: 80, protocol: 'TCP' },
  { name: 'web', containerPort: 81, protocol: 'TCP' },
  { name: 'dns', containerPort: 53, protocol: 'UDP' },
  { name: 'dns', containerPort: 90, protocol: 'SCTP' },
);

const described = fc.record({
  namespace: fc.constantFrom(...namespaceNames),
  labels,
  nodeName: fc.constantFrom(...nodes),
  ports: fc.array(namedPort, { maxLength: 2 }),
  // A pod that has ended, with the address of another; a pod in the network of another node.
  kind: fc.constantFrom('pod', 'pod', 'pod', 'pod', 'ended', 'host'),
});

/** @param state the pods in turn: their names and addresses stay, and everything else may differ */
const podOf = (
  index: number,
  { kind, ...pod }: typeof described extends fc.Arbitrary<infer T> ? T : never,
): ApiPod => ({
  metadata: { namespace: 'n1', name: `p${index}`, uid: `u${index}`, labels: pod.labels },
  spec: {
    nodeName: kind === 'host' ? 'there' : pod.nodeName,
    ...(kind === 'host' && { hostNetwork: true }),
    containers: [{ ports: pod.ports }],
  },
  status: {
    phase: kind === 'ended' ? 'Succeeded' : 'Running',
    podIPs:
      kind === 'host'
        ? [{ ip: '10.0.0.13' }, { ip: 'fd00::d' }]
        : [{ ip: `10.0.0.${index + 1}` }, { ip: `fd00::${(index + 1).toString(16)}` }],
  },
});

export const clusters: fc.Arbitrary<ApiCluster> = fc
  .record({
    pods: fc.array(described, { minLength: 2, maxLength: 6 }),
    policies: fc.array(fc.record({ namespace: fc.constantFrom(...namespaceNames), spec }), { maxLength: 5 }),
    namespaces: fc.tuple(labels, labels, labels),
  })
  .map(({ pods, policies, namespaces }) => ({
    pods: pods.map((pod, index) => {
      const made = podOf(index, pod);
      return { ...made, metadata: { ...made.metadata, namespace: pod.namespace } };
    }),
    policies: policies.map((policy, index) => ({
      metadata: { namespace: policy.namespace, name: `policy${index}` },
      spec: policy.spec,
    })),
    namespaces: namespaceNames.map((name, index) => ({
      metadata: { name, labels: namespaces[index] ?? {} },
    })),
  }));
