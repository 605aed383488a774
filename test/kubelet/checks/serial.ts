import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { shell, simplePod } from './check.ts';
import type { Check, Node } from './check.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import { container, isReady, stateOf } from '../node/pods.ts';

/** State that must not change while a kubelet or the daemon is stopped. */
async function identities(node: Node, names: readonly string[]): Promise<readonly string[]> {
  const all: string[] = [];
  for (const name of names) {
    const pod = await node.pods.until(name, 'ready', isReady);
    for (const one of pod.status.containerStatuses ?? []) {
      all.push(
        `${name}/${one.name} ${one.containerID ?? ''} restarts ${one.restartCount} since ${one.state.running?.startedAt ?? ''} at ${pod.status.podIP ?? ''}`,
      );
    }
  }
  return all;
}

const lasting = ['lasting', 'lasting-probed'];
const lastingPods: NonNullable<Check['pods']> = ({ images }) => [
  simplePod('lasting', images.app, shell('while :; do date; sleep 1; done')),
  simplePod('lasting-probed', images.app, {
    ...shell('exec httpd -f -p 8080 -h /www'),
    livenessProbe: {
      exec: { command: ['test', '-e', '/www'] },
      periodSeconds: 1,
      failureThreshold: 20,
      timeoutSeconds: 30,
    },
    readinessProbe: { httpGet: { path: '/index.html', port: 8080 }, periodSeconds: 1, failureThreshold: 60 },
  }),
];

/** Checks that run one after another, while no other check runs. */
export const aloneChecks: readonly Check[] = [
  {
    name: 'the kubelet restarts: the same containers continue, and none is restarted',
    alone: true,
    pods: lastingPods,
    run: async (node) => {
      const before = await identities(node, lasting);
      await node.kubelet.stop();
      await pause(2000);
      await node.kubelet.start();
      await pause(5000);
      assert.deepEqual(await identities(node, lasting), before);
    },
  },
  ...[false, true].map((kill): Check => ({
    name: `the daemon restarts (${kill ? 'kill -9' : 'orderly'}) while the kubelet runs: the same containers continue, and none is restarted`,
    alone: true,
    pods: lastingPods,
    run: async (node) => {
      const before = await identities(node, lasting);
      await node.stage.restart({ kill, meanwhile: () => pause(3000) });
      await pause(10_000);
      assert.ok(node.kubelet.isAlive(), 'the kubelet lives');
      assert.deepEqual(await identities(node, lasting), before);
      // The daemon serves: a pod created now runs.
      node.pods.apply(simplePod(`after-${kill ? 'kill' : 'restart'}`, node.images.app));
      await node.pods.until(`after-${kill ? 'kill' : 'restart'}`, 'ready', isReady);
    },
  })),
  {
    name: 'image garbage collection: under disk pressure the unused image is removed, and images in use stay',
    alone: true,
    pods: ({ images }) => [simplePod('stays', images.app)],
    run: async (node) => {
      const { pods, kubelet, images, stage } = node;
      pods.apply(simplePod('passes', images.spare, shell('exit 0'), { restartPolicy: 'Never' }));
      await pods.until('passes', 'Succeeded', (one) => one.status.phase === 'Succeeded');
      pods.remove('passes');
      const present = async (reference: string): Promise<boolean> =>
        (await stage.daemon.cri.image.imageStatus({ image: { image: reference } })).image !== undefined;
      assert.ok(await present(images.spare));
      await kubelet.stop();
      // A threshold that this disk cannot meet. The kubelet then reclaims what it can.
      await kubelet.start({
        evictionHard: {
          'nodefs.available': '99.999%',
          'imagefs.available': '99.999%',
          'memory.available': '1Mi',
        },
      });
      for (let attempt = 0; attempt < patience(300) && (await present(images.spare)); attempt += 1)
        await pause(300);
      assert.equal(await present(images.spare), false, 'the unused image is removed');
      assert.equal(await present(images.app), true, 'the used image stays');
      await kubelet.stop();
      await kubelet.start();
      const pod = await pods.until('stays', 'ready', isReady);
      assert.equal(container(pod).restartCount, 0);
      assert.equal(stateOf(pod).running !== undefined, true);
    },
  },
];
