import assert from 'node:assert/strict';
import { serviceRange } from '../nodes/addresses.ts';
import { web } from './check.ts';
import type { Check } from './check.ts';
import { itemsOf, until } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';
import { askFrom, createService, execIn, namespace, podsOf } from './workload.ts';
import type { Pod } from './workload.ts';

/** Asks a service from one pod until every backend has answered. */
async function untilAllAnswer(cluster: Cluster, asker: Pod, address: string, port: number): Promise<void> {
  const backends = (await podsOf(cluster, web.name)).map(({ metadata }) => metadata.name).toSorted();
  const seen = new Set<string>();
  await until(
    `every backend of ${address} answers ${asker.metadata.name}`,
    async () => {
      seen.add((await askFrom(cluster, asker.metadata.name, address, port)).pod);
      return [...seen].toSorted();
    },
    (found) => found.join() === backends.join(),
  );
}

/** Returns one pod of each node. */
async function onePodPerNode(cluster: Cluster): Promise<readonly Pod[]> {
  const pods = await podsOf(cluster, web.name);
  return [...new Map(pods.map((pod) => [pod.spec.nodeName, pod])).values()];
}

interface Slice {
  readonly endpoints: readonly { readonly addresses: readonly string[] }[];
}

export const serviceChecks: readonly Check[] = [
  {
    name: 'a Service reaches its pods on all nodes, from every node, in both families',
    run: async ({ cluster }) => {
      const { spec } = await createService(cluster, 'web', web.name);
      assert.equal(spec.clusterIPs.length, 2);
      for (const asker of await onePodPerNode(cluster))
        for (const address of spec.clusterIPs) await untilAllAnswer(cluster, asker, address, 80);
    },
  },
  {
    name: 'a NodePort of every node leads to pods of all nodes',
    run: async ({ cluster }) => {
      const { spec } = await createService(cluster, 'web-node', web.name, { type: 'NodePort' });
      const port = spec.ports[0]?.nodePort ?? 0;
      const [asker] = await onePodPerNode(cluster);
      assert.ok(asker);
      for (const { address } of cluster.nodes)
        for (const family of [4, 6] as const) await untilAllAnswer(cluster, asker, address[family], port);
    },
  },
  {
    name: 'a headless Service has the addresses of its pods, and no rule of its own',
    run: async ({ cluster }) => {
      await createService(cluster, 'web-headless', web.name, { clusterIP: 'None' });
      const pods = await podsOf(cluster, web.name);
      const slices = await until(
        'the slices of the headless service are complete',
        async () =>
          itemsOf(
            await cluster.ask(
              'GET',
              `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dweb-headless`,
            ),
          ) as readonly Slice[],
        (found) => found.flatMap(({ endpoints }) => endpoints).length === 2 * pods.length,
      );
      const addresses = slices.flatMap(({ endpoints }) => endpoints.flatMap((one) => one.addresses));
      const own = pods.flatMap(({ status }) => (status.podIPs ?? []).map(({ ip }) => ip));
      assert.deepEqual(addresses.toSorted(), own.toSorted());
    },
  },
  {
    name: 'a pod finds Services and their pods by their names, at the name server of its node',
    run: async ({ cluster }) => {
      await createService(cluster, 'web-named', web.name);
      await createService(cluster, 'web-named-headless', web.name, { clusterIP: 'None' });
      const own = (await podsOf(cluster, web.name)).flatMap(({ status }) =>
        (status.podIPs ?? []).map(({ ip }) => ip),
      );
      for (const { metadata } of await onePodPerNode(cluster)) {
        const found = async (name: string): Promise<string> =>
          execIn(cluster, metadata.name, ['sh', '-c', `timeout 20 nslookup ${name} 2>&1; true`]);
        await until(
          `${metadata.name} finds the headless service`,
          () => found(`web-named-headless.${namespace}.svc.cluster.local`),
          (said) => own.filter((ip) => !ip.includes(':')).every((ip) => said.includes(ip)),
        );
        const { pod } = await askFrom(cluster, metadata.name, `web-named.${namespace}.svc.cluster.local`, 80);
        assert.match(pod, /^web-/u);
      }
    },
  },
  {
    name: 'the service kubernetes leads to the API server',
    run: async ({ cluster }) => {
      const address = serviceRange.replace(/0\/.*$/u, '1');
      for (const { metadata } of await onePodPerNode(cluster)) {
        // A static busybox has no TLS. A TLS server of Go answers a client that sends plain HTTP with an
        // error about it.
        const script = `printf 'GET /api HTTP/1.0\\r\\n\\r\\n' | timeout 10 nc ${address} 443`;
        const answer = await execIn(cluster, metadata.name, ['sh', '-c', script]);
        assert.match(answer, /Client sent an HTTP request to an HTTPS server/u);
      }
    },
  },
];
