import { createEnforcer } from '../enforcement/enforcer.ts';
import type { Enforcer } from '../enforcement/enforcer.ts';
import type { ClusterNetworkPolicy } from '../kubernetes/cluster-network-policy.ts';
import type { Labels, NetworkPolicy } from '../kubernetes/network-policy.ts';
import type { PodDescription } from '../kubernetes/policies.ts';
import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { GroupChange } from '../kubernetes/peer-index.ts';
import { createClusterTable } from './cluster-table.ts';
import type { ClusterTable } from './cluster-table.ts';
import type { WholeCluster } from './cluster-oracle.fixture.ts';
import type { ApiCluster, ApiPod } from './oracle.fixture.ts';

/** The parts of a node that compute rules, without threads, kernel and API server. */
export interface Node {
  readonly table: ClusterTable;
  readonly enforcer: Enforcer;
  /** Passes the content of the table to the rules, as the network's thread does. */
  settle(): void;
}

export function createNode(): Node {
  const table = createClusterTable('here');
  const policies = new Map<string, NetworkPolicy>();
  const pods = new Map<string, PodDescription>();
  let waiting: readonly GroupChange[] = [];
  const source: PeerSource = {
    want: table.want,
    drop: table.drop,
    putPod: table.putPod,
    putNamespaces: (labels) => table.putNamespaces([...labels]),
    take() {
      const taken = waiting;
      waiting = [];
      return taken;
    },
  };
  const enforcer = createEnforcer(source);
  const clusterPolicies = new Map<string, ClusterNetworkPolicy>();
  const labels = new Map<string, Labels>();
  const namespaces = new Map();
  const turn = (): void => {
    const changes = table.take();
    putAll(policies, changes?.policies);
    putAll(clusterPolicies, changes?.clusterPolicies);
    putAll(labels, changes?.namespaces);
    putAll(pods, changes?.pods);
    waiting = [...waiting, ...(changes?.groups ?? [])];
    enforcer.follow({
      set: {
        ...{ policies: [...policies.values()], namespaces },
        cluster: { policies: [...clusterPolicies.values()], namespaces: new Map(labels) },
      },
      pods: new Map(pods),
    });
    enforcer.settled();
  };
  return {
    table,
    enforcer,
    settle() {
      // Groups that a rule needs come with the next turn.
      turn();
      turn();
    },
  };
}

const isAlive = ({ status }: ApiPod): boolean => status.phase === 'Running';
export const isOwn = (pod: ApiPod): boolean =>
  isAlive(pod) && pod.spec.nodeName === 'here' && pod.spec.hostNetwork !== true;

export function listAll({ table }: Node, cluster: WholeCluster): void {
  for (const [collection, objects] of [
    [table.namespaces, cluster.namespaces],
    [table.policies, cluster.policies],
    [table.pods, cluster.pods],
    [table.clusterPolicies, cluster.clusterPolicies ?? []],
    [table.nodes, cluster.nodes ?? []],
  ] as const) {
    collection.begin();
    for (const object of objects) collection.listed(object);
    collection.complete();
  }
}

/** Sends the differences as events, in an order that mixes the collections. */
export function changeAll({ table }: Node, before: WholeCluster, now: WholeCluster): void {
  const nameOf = ({ metadata }: { metadata: { namespace?: string; name: string } }): string =>
    `${metadata.namespace ?? ''}/${metadata.name}`;
  const events: (() => void)[] = [];
  for (const [collection, old, fresh] of [
    [table.pods, before.pods, now.pods],
    [table.namespaces, before.namespaces, now.namespaces],
    [table.policies, before.policies, now.policies],
    [table.clusterPolicies, before.clusterPolicies ?? [], now.clusterPolicies ?? []],
    [table.nodes, before.nodes ?? [], now.nodes ?? []],
  ] as const) {
    const names = new Set((fresh as readonly Parameters<typeof nameOf>[0][]).map(nameOf));
    for (const object of old as readonly Parameters<typeof nameOf>[0][])
      if (!names.has(nameOf(object))) events.push(() => collection.removed(object));
    for (const object of fresh) events.push(() => collection.changed(object));
  }
  for (const [index, act] of events.entries()) if (index % 2 === 0) act();
  for (const [index, act] of events.entries()) if (index % 2 === 1) act();
}

export function openOwn({ enforcer }: Node, { pods }: ApiCluster): void {
  const own = pods.filter(isOwn);
  enforcer.restart(
    own.map(({ metadata, status }) => ({
      id: metadata.name,
      uid: metadata.uid,
      namespace: metadata.namespace,
      // The pod was created with these; the API's labels win.
      labels: { app: 'outdated' },
      rules: {},
      links: [
        {
          hostInterface: `h${metadata.name}`,
          addresses: status.podIPs.map(({ ip }) => ip),
          bridgeMac: '0a:58:0a:00:00:01',
        },
      ],
    })),
  );
  enforcer.settled();
}

function putAll<T>(
  map: Map<string, T>,
  changes: readonly (readonly [key: string, value: T | undefined])[] = [],
): void {
  for (const [key, value] of changes)
    if (value === undefined) map.delete(key);
    else map.set(key, value);
}
