import fc from 'fast-check';
import type {
  ApiClusterPeer,
  ApiClusterPolicy,
  ApiClusterRule,
  ApiProtocol,
  WholeCluster,
} from './cluster-oracle.fixture.ts';
import { clusters, labels, selector } from './generated.fixture.ts';

/** Clusters of generated.fixture.ts with nodes and ClusterNetworkPolicies. */

const pods = fc.record({ namespaceSelector: selector, podSelector: selector });
const podPeer: fc.Arbitrary<ApiClusterPeer> = fc.oneof(
  fc.record({ namespaces: selector }),
  fc.record({ pods }),
);
const otherPeer: fc.Arbitrary<ApiClusterPeer> = fc.oneof(
  fc.record({ nodes: selector }),
  fc.constantFrom<ApiClusterPeer>(
    { networks: ['0.0.0.0/0', '::/0'] },
    { networks: ['10.0.0.0/29', 'fd00::/125'] },
    { networks: ['10.0.0.12/31'] },
  ),
);
const numbered: fc.Arbitrary<ApiProtocol> = fc.constantFrom<ApiProtocol>(
  { tcp: {} },
  { tcp: { destinationPort: { number: 80 } } },
  { tcp: { destinationPort: { range: { start: 81, end: 90 } } } },
  { udp: { destinationPort: { number: 53 } } },
  { sctp: { destinationPort: { range: { start: 80, end: 90 } } } },
);
const named: fc.Arbitrary<ApiProtocol> = fc.constantFrom<ApiProtocol>(
  { destinationNamedPort: 'web' },
  { destinationNamedPort: 'dns' },
);
const action = fc.constantFrom('Accept' as const, 'Deny' as const, 'Pass' as const);
const some = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(one, { minLength: 1, maxLength: 2 });

const ingress: fc.Arbitrary<ApiClusterRule> = fc.record(
  { action, from: some(podPeer), protocols: some(fc.oneof(numbered, named)) },
  { requiredKeys: ['action', 'from'] },
);
const egress: fc.Arbitrary<ApiClusterRule> = fc.oneof(
  fc.record(
    { action, to: some(podPeer), protocols: some(fc.oneof(numbered, named)) },
    { requiredKeys: ['action', 'to'] },
  ),
  fc.record(
    // "networks/nodes/domainNames peer cannot be set with namedPorts"
    { action, to: some(fc.oneof(podPeer, otherPeer)), protocols: some(numbered) },
    { requiredKeys: ['action', 'to'] },
  ),
);
const spec: fc.Arbitrary<ApiClusterPolicy['spec']> = fc.record({
  tier: fc.constantFrom('Admin' as const, 'Baseline' as const),
  priority: fc.integer({ min: 0, max: 99 }),
  subject: podPeer,
  ingress: fc.array(ingress, { maxLength: 2 }),
  egress: fc.array(egress, { maxLength: 2 }),
});

export const wholeClusters: fc.Arbitrary<WholeCluster> = fc
  .record({
    cluster: clusters,
    specs: fc.array(spec, { maxLength: 4 }),
    nodes: fc.tuple(labels, labels),
  })
  .map(({ cluster, specs, nodes: [here, there] }) => ({
    ...cluster,
    // Without two of one priority: any of these may come first.
    clusterPolicies: specs.map((one, index) => ({
      metadata: { name: `cluster${index}` },
      spec: { ...one, priority: one.priority * 10 + index },
    })),
    nodes: [nodeOf('here', here, ['10.0.0.12', 'fd00::c']), nodeOf('there', there, ['10.0.0.13', 'fd00::d'])],
  }));

const nodeOf = (
  name: string,
  itsLabels: Readonly<Record<string, string>>,
  addresses: readonly string[],
): NonNullable<WholeCluster['nodes']>[number] => ({
  metadata: { name, labels: itsLabels },
  status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
});
