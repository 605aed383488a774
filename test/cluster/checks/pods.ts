import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createHttpServer } from '../../../base/connections/index.ts';
import { contains, parseIp, parsePrefix } from '../../../base/addresses/index.ts';
import { outsideAddress } from '../nodes/addresses.ts';
import { web } from './check.ts';
import type { Check } from './check.ts';
import { itemsOf, until, untilNodesReady } from '../nodes/cluster.ts';
import type { Cluster } from '../nodes/cluster.ts';
import {
  askFrom,
  createDeployment,
  deploymentOf,
  execIn,
  logOf,
  namespace,
  podsOf,
  untilReady,
} from './workload.ts';

interface Event {
  readonly message: string;
  readonly involvedObject: { readonly name: string };
}

const isIn = (subnets: readonly string[], address: string): boolean => {
  const ip = parseIp(address);
  return subnets.some((text) => {
    const prefix = parsePrefix(text);
    return ip !== undefined && prefix !== undefined && contains(prefix, ip);
  });
};

/** Answers with the address of the asker, beyond the cluster. */
async function withOutsideServer(act: (port: number) => Promise<void>): Promise<void> {
  const server = createHttpServer((request, response) =>
    response.end(`outside ${request.socket.remoteAddress?.replace(/^::ffff:/u, '') ?? ''} v1\n`),
  );
  server.listen(0, '::');
  await once(server, 'listening');
  try {
    await act((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

export const podChecks: readonly Check[] = [
  {
    name: 'a Deployment has pods on every node, with addresses of the node’s subnets',
    run: async ({ cluster, images }) => {
      await createDeployment(cluster, deploymentOf(web.name, images.app, web.replicas));
      const pods = await untilReady(cluster, web.name, web.replicas);
      const nodes = await untilNodesReady(cluster);
      for (const { metadata, spec } of nodes) {
        const here = pods.filter((pod) => pod.spec.nodeName === metadata.name);
        assert.ok(here.length > 0, `no pod on ${metadata.name}`);
        for (const { status } of here) {
          assert.equal(status.podIPs?.length, 2, 'both families');
          for (const { ip } of status.podIPs ?? [])
            assert.ok(isIn(spec.podCIDRs ?? [], ip), `${ip} is in ${spec.podCIDRs?.join(' ')}`);
        }
      }
    },
  },
  {
    name: 'every pod reaches every pod by address, in both families, and sees its address',
    run: async ({ cluster }) => {
      const pods = await podsOf(cluster, web.name);
      const onePerNode = [...new Map(pods.map((pod) => [pod.spec.nodeName, pod])).values()];
      for (const asker of onePerNode)
        for (const { metadata, status } of pods)
          for (const [family, { ip }] of (status.podIPs ?? []).entries()) {
            if (metadata.name === asker.metadata.name) continue;
            const answer = await askFrom(cluster, asker.metadata.name, ip);
            assert.equal(answer.pod, metadata.name);
            assert.equal(answer.from, asker.status.podIPs?.[family]?.ip);
          }
    },
  },
  {
    name: 'outside of the cluster a pod has the address of its node',
    run: async ({ cluster }) => {
      const pods = await podsOf(cluster, web.name);
      await withOutsideServer(async (port) => {
        for (const node of cluster.nodes) {
          const pod = pods.find(({ spec }) => spec.nodeName === node.name);
          for (const family of [4, 6] as const) {
            const answer = await askFrom(cluster, pod?.metadata.name ?? '', outsideAddress[family], port);
            assert.equal(answer.from, node.address[family]);
          }
        }
      });
    },
  },
  {
    name: 'a node reaches the pods of the other nodes',
    run: async ({ cluster }) => {
      for (const { status } of await podsOf(cluster, web.name))
        for (const { ip } of status.podIPs ?? []) {
          const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:8080/cgi-bin/who`;
          for (const node of cluster.nodes) node.run('timeout', '10', 'busybox', 'wget', '-qO-', url);
        }
    },
  },
  {
    name: 'exec and logs work through the API server on every node',
    run: async ({ cluster }) => {
      for (const { metadata } of await podsOf(cluster, web.name)) {
        assert.equal((await execIn(cluster, metadata.name, ['hostname'])).trim(), metadata.name);
        assert.match(await logOf(cluster, metadata.name), /^started v1$/mu);
        await assert.rejects(execIn(cluster, metadata.name, ['sh', '-c', 'exit 3']), /exit code 3/u);
      }
    },
  },
  {
    name: 'an unsigned image is refused, and the pod’s event has the tree of reasons',
    run: async ({ cluster, images }) => {
      const path = `/api/v1/namespaces/${namespace}`;
      await cluster.ask('POST', `${path}/pods`, {
        metadata: { name: 'unsigned' },
        spec: { containers: [{ name: 'main', image: images.unsigned }] },
      });
      const message = await until(
        'an event reports the refusal',
        () => refusalOf(cluster),
        (found) => found !== '',
      );
      assert.match(message, /SignatureValidationFailed/u);
      assert.match(message, /cosign/u, 'the requirement that was not met');
      await cluster.ask('DELETE', `${path}/pods/unsigned?gracePeriodSeconds=0`);
    },
  },
];

async function refusalOf(cluster: Cluster): Promise<string> {
  const answer = await cluster.ask('GET', `/api/v1/namespaces/${namespace}/events`);
  const events = itemsOf(answer) as readonly Event[];
  return (
    events.find(
      ({ involvedObject, message }) =>
        involvedObject.name === 'unsigned' && message.includes('SignatureValidationFailed'),
    )?.message ?? ''
  );
}
