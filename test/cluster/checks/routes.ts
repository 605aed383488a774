import assert from 'node:assert/strict';
import { nodeAddress, podRanges, switchAddress } from '../nodes/addresses.ts';
import { web } from './check.ts';
import type { Check } from './check.ts';
import { until, untilNodesReady } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';
import type { ClusterNode } from '../nodes/node.ts';
import { askFrom, podsOf } from './workload.ts';

interface KernelRoute {
  readonly dst: string;
  readonly gateway?: string;
}

/** Returns the routes of a node to the pods of others, one per line. */
const routesOf = (node: ClusterNode): readonly string[] =>
  ['-4', '-6']
    .flatMap((family) =>
      (JSON.parse(node.run('ip', '-json', family, 'route')) as readonly KernelRoute[])
        .filter(({ dst, gateway }) => gateway !== undefined && dst !== 'default')
        .map(({ dst, gateway = '' }) => `${dst} via ${gateway}`),
    )
    .toSorted();

const untilRoutes = (what: string, node: ClusterNode, wanted: readonly string[]): Promise<unknown> =>
  until(
    what,
    () => Promise.resolve(routesOf(node)),
    (found) => found.join() === wanted.toSorted().join(),
    30_000,
  );

/** Registers a node as anyone with the rights of a kubelet could, with these subnets and addresses. */
async function register(
  cluster: Cluster,
  name: string,
  podCIDRs: readonly string[],
  addresses: readonly string[],
): Promise<void> {
  await cluster.ask('POST', '/api/v1/nodes', {
    metadata: { name },
    spec: {
      podCIDR: podCIDRs[0],
      podCIDRs,
      taints: [{ key: 'not-a-node', effect: 'NoSchedule' }],
    },
  });
  await cluster.ask('PATCH', `/api/v1/nodes/${name}/status`, {
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  });
}

const forget = (cluster: Cluster, name: string): Promise<unknown> =>
  cluster.ask('DELETE', `/api/v1/nodes/${name}`);

export const routeChecks: readonly Check[] = [
  {
    name: 'each node has a route to the subnets of each other node, and no other',
    run: async ({ cluster }) => {
      const objects = await untilNodesReady(cluster);
      for (const node of cluster.nodes) {
        const wanted = objects
          .filter(({ metadata }) => metadata.name !== node.name)
          .flatMap(({ metadata, spec }) => {
            const { address } = cluster.nodes.find(({ name }) => name === metadata.name) ?? node;
            return (spec.podCIDRs ?? []).map((cidr) => `${cidr} via ${address[cidr.includes(':') ? 6 : 4]}`);
          });
        await untilRoutes(`the routes of ${node.name}`, node, wanted);
      }
    },
  },
  {
    name: 'a route that another program deletes or changes is restored within seconds',
    run: async ({ cluster: { nodes } }) => {
      const [node] = nodes;
      assert.ok(node);
      const before = routesOf(node);
      const [first = '', second = ''] = before.filter((line) => !line.includes('::'));
      node.run('ip', 'route', 'del', ...first.split(' '));
      node.run('ip', 'route', 'replace', second.split(' ')[0] ?? '', 'via', switchAddress[4]);
      node.run('ip', 'route', 'add', '10.244.200.0/24', 'via', switchAddress[4]);
      node.run('nft', 'delete', 'table', 'ip', 'portcullis-pods');
      await untilRoutes('the routes are back', node, before);
      node.run('nft', 'list', 'table', 'ip', 'portcullis-pods');
    },
  },
  {
    name: 'a node that joins gets a route, and loses it when it leaves',
    run: async ({ cluster }) => {
      const [node] = cluster.nodes;
      assert.ok(node);
      const before = routesOf(node);
      const address = nodeAddress(90);
      await register(cluster, 'paper', ['10.244.90.0/24', 'fd00:10:244:90::/64'], [address[4], address[6]]);
      await untilRoutes('the route of the new node', node, [
        ...before,
        `10.244.90.0/24 via ${address[4]}`,
        `fd00:10:244:90::/64 via ${address[6]}`,
      ]);
      await forget(cluster, 'paper');
      await untilRoutes('no route of the node that left', node, before);
    },
  },
  {
    name: 'Node objects get no route for addresses that do not belong to them',
    run: async ({ cluster }) => {
      const objects = await untilNodesReady(cluster);
      const before = cluster.nodes.map(routesOf);
      const [own = '', other = ''] = objects.map(({ spec }) => spec.podCIDRs?.[0] ?? '');
      const address = nodeAddress(91)[4];
      const hostile: Readonly<Record<string, readonly [string, string]>> = {
        'takes-a-subnet': [own, address],
        'takes-a-part': [other.replace('/24', '/25'), address],
        'takes-everything': [podRanges[0] ?? '', address],
        'takes-services': ['10.96.0.0/24', address],
        'takes-nodes': ['192.168.100.0/24', address],
        'takes-the-server': [`${switchAddress[4]}/32`, address],
        'takes-the-world': ['0.0.0.0/0', address],
        'is-in-the-pods': ['10.244.91.0/24', '10.244.0.5'],
        'is-this-node': ['10.244.92.0/24', cluster.nodes[0]?.address[4] ?? ''],
        'is-elsewhere': ['10.244.93.0/24', '203.0.113.7'],
        'is-nowhere': ['10.244.94.0/24', '127.0.0.1'],
      };
      for (const [name, [cidr, gateway]] of Object.entries(hostile))
        await register(cluster, name, [cidr], [gateway]);
      // The last registration is valid: when it has its route, all earlier registrations have been handled.
      await register(cluster, 'valid', ['10.244.95.0/24'], [nodeAddress(95)[4]]);
      for (const [index, node] of cluster.nodes.entries())
        await untilRoutes(`${node.name} has no other routes`, node, [
          ...(before[index] ?? []),
          `10.244.95.0/24 via ${nodeAddress(95)[4]}`,
          // Its own address is refused by one node only. The others send such packets to that node.
          ...(index === 0 ? [] : [`10.244.92.0/24 via ${hostile['is-this-node']?.[1] ?? ''}`]),
        ]);
      for (const name of [...Object.keys(hostile), 'valid']) await forget(cluster, name);
      for (const [index, node] of cluster.nodes.entries())
        await untilRoutes(`${node.name} is as before`, node, before[index] ?? []);
      const pods = await podsOf(cluster, web.name);
      const [asker] = pods;
      for (const { metadata, status } of pods)
        if (metadata.name !== asker?.metadata.name)
          await askFrom(cluster, asker?.metadata.name ?? '', status.podIPs?.[0]?.ip ?? '');
    },
  },
];
