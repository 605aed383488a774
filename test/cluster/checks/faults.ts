import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { web } from './check.ts';
import type { Check } from './check.ts';
import { answersOf, client, requireAnswers, startClient } from './client.ts';
import { until } from '../nodes/cluster.ts';
import { containersOf, remainsOn, requireUnharmed } from './survivors.ts';
import {
  changeDeployment,
  createService,
  deploymentOf,
  logOf,
  namespace,
  podsOf,
  untilReady,
} from './workload.ts';

/** SANDBOX_READY (cri-api PodSandboxState). */
const sandboxReady = 0;

/** The pod of the running client. The first check starts it. */
let asking = '';

export const faultChecks: readonly Check[] = [
  {
    name: 'a rolling update replaces every pod, and no request to the service fails',
    run: async (context) => {
      const { cluster, images } = context;
      const service = await createService(cluster, 'steady', web.name);
      asking = await startClient(cluster, images.app, service);
      const before = (await podsOf(cluster, web.name)).map(({ metadata }) => metadata.uid);
      const from = await answersOf(cluster, asking);
      await changeDeployment(cluster, web.name, deploymentOf(web.name, images.next, web.replicas, 'v2'));
      await until(
        'every pod is new',
        () => podsOf(cluster, web.name),
        (pods) =>
          pods.length === web.replicas && pods.every(({ metadata }) => !before.includes(metadata.uid)),
      );
      const pods = await untilReady(cluster, web.name, web.replicas);
      for (const { metadata } of pods) assert.match(await logOf(cluster, metadata.name), /^started v2$/mu);
      await requireAnswers(cluster, asking, from);
    },
  },
  {
    name: 'a drained node has no pod of the Deployment left, and gets pods again',
    run: async ({ cluster }) => {
      const victim = (await podsOf(cluster, client.name))[0]?.spec.nodeName;
      const node = cluster.nodes.find(({ name }) => name !== victim)?.name ?? '';
      const from = await answersOf(cluster, asking);
      await cluster.ask('PATCH', `/api/v1/nodes/${node}`, { spec: { unschedulable: true } });
      for (const { metadata, spec } of await podsOf(cluster, web.name))
        if (spec.nodeName === node)
          await cluster.ask('POST', `/api/v1/namespaces/${namespace}/pods/${metadata.name}/eviction`, {
            apiVersion: 'policy/v1',
            kind: 'Eviction',
            metadata: { name: metadata.name, namespace },
          });
      const pods = await untilReady(cluster, web.name, web.replicas);
      assert.ok(pods.every(({ spec }) => spec.nodeName !== node));
      const one = cluster.nodes.find(({ name }) => name === node);
      await until(
        'the daemon of the node has no running pod',
        async () => {
          // The kubelet removes ended pods within a minute.
          const { items } = (await one?.daemon.cri.runtime.listPodSandbox({})) ?? { items: [] };
          return items.filter(({ state }) => state === sandboxReady);
        },
        (items) => items.length === 0,
      );
      await requireAnswers(cluster, asking, from);
      await cluster.ask('PATCH', `/api/v1/nodes/${node}`, { spec: { unschedulable: false } });
      await changeDeployment(cluster, web.name, { spec: { replicas: web.replicas + 3 } });
      const more = await untilReady(cluster, web.name, web.replicas + 3);
      assert.ok(more.some(({ spec }) => spec.nodeName === node));
      await changeDeployment(cluster, web.name, { spec: { replicas: web.replicas } });
      await untilReady(cluster, web.name, web.replicas);
    },
  },
  {
    name: 'kill -9 of the daemon of every node loses nothing',
    run: async ({ cluster }) => {
      const before = containersOf(await podsOf(cluster, web.name));
      const from = await answersOf(cluster, asking);
      for (const node of cluster.nodes) {
        await node.daemon.kill();
        await pause(500);
        await node.startDaemon();
      }
      await requireUnharmed(cluster, before);
      await requireAnswers(cluster, asking, from);
    },
  },
  {
    name: 'kill -9 of every kubelet loses nothing',
    run: async ({ cluster }) => {
      const before = containersOf(await podsOf(cluster, web.name));
      const from = await answersOf(cluster, asking);
      for (const { kubelet } of cluster.nodes) {
        await kubelet.end('SIGKILL');
        kubelet.start();
      }
      await requireUnharmed(cluster, before);
      await requireAnswers(cluster, asking, from);
    },
  },
  {
    name: 'no daemon has lost its watches, however quiet they were',
    run: async ({ cluster: { nodes } }) => {
      for (const { name, daemon } of nodes)
        assert.doesNotMatch(daemon.log(), /the API server is not watched/u, `the log of ${name}`);
      await Promise.resolve();
    },
  },
  {
    name: 'kill -9 of the API server loses nothing, also while a daemon starts without it',
    run: async ({ cluster }) => {
      const before = containersOf(await podsOf(cluster, web.name));
      const from = await answersOf(cluster, asking);
      const { api } = cluster.controlPlane;
      await api.kill();
      const [node] = cluster.nodes;
      await node?.daemon.kill();
      await node?.startDaemon();
      // Its network is in force without an answer of the API server.
      await until(
        'the network is ready without the API server',
        async () => (await node?.daemon.cri.runtime.status({}))?.status?.conditions ?? [],
        (conditions) => conditions.some(({ type, status }) => type === 'NetworkReady' && status),
        20_000,
      );
      await api.start();
      await requireUnharmed(cluster, before);
      await requireAnswers(cluster, asking, from);
    },
  },
  {
    name: 'deleted objects leave nothing on any node',
    run: async ({ cluster }) => {
      await cluster.ask('DELETE', `/api/v1/namespaces/${namespace}`);
      await until(
        'the namespace is gone',
        () => cluster.ask('GET', `/api/v1/namespaces/${namespace}`).then(() => 'there', String),
        (found) => found.includes('404'),
      );
      for (const node of cluster.nodes)
        await until(
          `nothing remains on ${node.name}`,
          () => remainsOn(node),
          (found) => found.length === 0,
          150_000,
        );
    },
  },
];
