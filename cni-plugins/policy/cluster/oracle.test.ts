import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { grants } from '../kubernetes/evaluate.fixture.ts';
import { createEnforcer } from '../enforcement/enforcer.ts';
import type { Enforcer } from '../enforcement/enforcer.ts';
import type { NetworkPolicy } from '../kubernetes/network-policy.ts';
import type { PodDescription } from '../kubernetes/policies.ts';
import type { PeerSource } from '../kubernetes/peer-groups.ts';
import type { GroupChange } from '../kubernetes/peer-index.ts';
import { createClusterTable } from './cluster-table.ts';
import type { ClusterTable } from './cluster-table.ts';
import { clusters, ports, protocols, strangers } from './generated.fixture.ts';
import { isAllowed } from './oracle.fixture.ts';
import type { ApiCluster, ApiPod } from './oracle.fixture.ts';

/**
 * The rules that pods of a node get, compared with an independent reading of the specification: for a
 * generated cluster, and again after each of its objects became that of another one.
 */

interface Node {
  readonly table: ClusterTable;
  readonly enforcer: Enforcer;
  /** Brings what the table has to the rules, as the network's thread does. */
  settle(): void;
}

function createNode(): Node {
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
  const namespaces = new Map();
  const turn = (): void => {
    const changes = table.take();
    for (const [key, policy] of changes?.policies ?? [])
      if (policy === undefined) policies.delete(key);
      else policies.set(key, policy);
    for (const [uid, pod] of changes?.pods ?? [])
      if (pod === undefined) pods.delete(uid);
      else pods.set(uid, pod);
    waiting = [...waiting, ...(changes?.groups ?? [])];
    enforcer.follow({ set: { policies: [...policies.values()], namespaces }, pods: new Map(pods) });
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
const isOwn = (pod: ApiPod): boolean =>
  isAlive(pod) && pod.spec.nodeName === 'here' && pod.spec.hostNetwork !== true;

function listAll({ table }: Node, { pods, namespaces, policies }: ApiCluster): void {
  for (const [collection, objects] of [
    [table.namespaces, namespaces],
    [table.policies, policies],
    [table.pods, pods],
  ] as const) {
    collection.begin();
    for (const object of objects) collection.listed(object);
    collection.complete();
  }
}

/** Sends the differences as events, in an order that mixes the collections. */
function changeAll({ table }: Node, before: ApiCluster, now: ApiCluster): void {
  const nameOf = ({ metadata }: { metadata: { namespace?: string; name: string } }): string =>
    `${metadata.namespace ?? ''}/${metadata.name}`;
  const events: (() => void)[] = [];
  for (const [collection, old, fresh] of [
    [table.pods, before.pods, now.pods],
    [table.namespaces, before.namespaces, now.namespaces],
    [table.policies, before.policies, now.policies],
  ] as const) {
    const names = new Set((fresh as readonly Parameters<typeof nameOf>[0][]).map(nameOf));
    for (const object of old) if (!names.has(nameOf(object))) events.push(() => collection.removed(object));
    for (const object of fresh) events.push(() => collection.changed(object));
  }
  for (const [index, act] of events.entries()) if (index % 2 === 0) act();
  for (const [index, act] of events.entries()) if (index % 2 === 1) act();
}

function openOwn({ enforcer }: Node, { pods }: ApiCluster): void {
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

let compared = 0;
function compare({ enforcer }: Node, cluster: ApiCluster): void {
  const everybody = [
    ...new Set([...cluster.pods.flatMap(({ status }) => status.podIPs.map(({ ip }) => ip)), ...strangers]),
  ];
  for (const pod of cluster.pods.filter(isOwn)) {
    const layers = enforcer.rulesOf(pod.metadata.name)?.policies;
    for (const { ip } of pod.status.podIPs)
      for (const other of everybody) {
        if (other.includes(':') !== ip.includes(':')) continue;
        for (const direction of ['ingress', 'egress'] as const)
          for (const protocol of protocols)
            for (const port of ports) {
              const [from, to] = direction === 'ingress' ? [other, ip] : [ip, other];
              const layer = layers?.[direction];
              const ours =
                layer === undefined ||
                layer.grants.some((grant) =>
                  grants(grant, other, { protocol: protocol.toLowerCase(), port }),
                );
              compared += 1;
              const right = isAllowed(cluster, pod, direction, { from, to, protocol, port });
              if (ours !== right)
                assert.fail(
                  `${direction} ${from} -> ${to} ${protocol} ${port}: ours ${ours}, right ${right}\n${JSON.stringify(cluster)}`,
                );
            }
      }
  }
}

test('the rules of 1,000 generated clusters are what the specification says, before and after changes', () => {
  fc.assert(
    fc.property(clusters, clusters, (first, second) => {
      const node = createNode();
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
      changeAll(node, first, second);
      openOwn(node, second);
      node.settle();
      compare(node, second);
      // Listed again, as after 410: what is missing from the list is gone.
      listAll(node, first);
      openOwn(node, first);
      node.settle();
      compare(node, first);
    }),
    { numRuns: Number(process.env['PORTCULLIS_RUNS'] ?? 500), seed: Number(process.env['FUZZ_SEED'] ?? 25) },
  );
  assert.ok(compared > 100_000, `${compared} connections`);
});
