import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { shell, simplePod } from './check.ts';
import type { Check, Node } from './check.ts';
import { patience } from '../../fixtures/kubelet/patience.ts';
import { container, isReady } from '../node/pods.ts';

/** The fields of stats/v1alpha1.Summary that the checks read. */
interface Summary {
  readonly node: {
    readonly fs: FsStats;
    readonly runtime: { readonly imageFs: FsStats; readonly containerFs?: FsStats };
  };
  readonly pods: readonly {
    readonly podRef: { readonly name: string };
    readonly cpu?: { readonly usageCoreNanoSeconds?: number };
    readonly memory?: { readonly workingSetBytes?: number };
    readonly 'ephemeral-storage'?: FsStats;
    readonly containers: readonly {
      readonly name: string;
      readonly cpu: { readonly usageNanoCores?: number; readonly usageCoreNanoSeconds?: number };
      readonly memory: { readonly workingSetBytes?: number; readonly usageBytes?: number };
      readonly rootfs?: FsStats;
      readonly logs?: FsStats;
    }[];
  }[];
}
interface FsStats {
  readonly capacityBytes?: number;
  readonly availableBytes?: number;
  readonly usedBytes?: number;
}

const written = 3 * 2 ** 20;

async function summaryWhen(node: Node, what: string, is: (summary: Summary) => boolean): Promise<Summary> {
  let last: unknown;
  for (let attempt = 0; attempt < patience(60); attempt += 1) {
    try {
      const summary = (await node.kubelet.server.json('/stats/summary')) as Summary;
      if (is(summary)) return summary;
      last = summary.pods.find((pod) => pod.podRef.name === 'measured-node') ?? 'the pod is not in it';
    } catch (cause) {
      last = cause;
    }
    await pause(1000);
  }
  throw new Error(
    `stats/summary: not ${what} in time: ${last instanceof Error ? last.message : JSON.stringify(last)}`,
  );
}

const measuredPods: NonNullable<Check['pods']> = ({ images }) => [
  simplePod(
    'measured',
    images.app,
    shell(
      `head -c ${written} /dev/urandom > /file; i=0; while :; do i=$((i+1)); [ $((i % 20000)) = 0 ] && sleep 0.2; done`,
    ),
  ),
];

export const statsChecks: readonly Check[] = [
  {
    name: 'stats/summary: CPU, memory, writable layer and log of a container; node and image file systems',
    pods: measuredPods,
    run: async (node) => {
      await node.pods.until('measured', 'ready', isReady);
      const mainOf = (summary: Summary) =>
        summary.pods
          .find((pod) => pod.podRef.name === 'measured-node')
          ?.containers.find((one) => one.name === 'main');
      const summary = await summaryWhen(node, 'whole', (one) => {
        const main = mainOf(one);
        return (
          (main?.cpu.usageNanoCores ?? 0) > 0 &&
          (main?.memory.workingSetBytes ?? 0) > 0 &&
          (main?.rootfs?.usedBytes ?? 0) >= written
        );
      });
      assert.ok((mainOf(summary)?.cpu.usageCoreNanoSeconds ?? 0) > 0);
      assert.ok((mainOf(summary)?.logs?.capacityBytes ?? 0) > 0);
      const pod = summary.pods.find((one) => one.podRef.name === 'measured-node');
      assert.ok(
        (pod?.['ephemeral-storage']?.usedBytes ?? 0) >= written,
        'ephemeral storage includes the writable layer',
      );
      for (const fs of [summary.node.fs, summary.node.runtime.imageFs]) {
        assert.ok((fs.capacityBytes ?? 0) > 0 && (fs.availableBytes ?? 0) > 0, JSON.stringify(fs));
      }
      assert.ok((summary.node.runtime.imageFs.usedBytes ?? 0) > 0, 'the images use some of it');
    },
  },
  {
    name: 'stats/summary: a container that works in short bursts is never idle',
    pods: ({ images }) => [
      simplePod(
        'bursts',
        images.app,
        shell('while :; do head -c 200000 /dev/urandom | md5sum; sleep 1; done'),
      ),
    ],
    run: async (node) => {
      await node.pods.until('bursts', 'ready', isReady);
      const rateIn = (summary: Summary): number =>
        summary.pods
          .find((pod) => pod.podRef.name === 'bursts-node')
          ?.containers.find((one) => one.name === 'main')?.cpu.usageNanoCores ?? 0;
      const rates = [rateIn(await summaryWhen(node, 'with a rate', (one) => rateIn(one) > 0))];
      for (let look = 0; look < 10; look += 1) {
        await pause(1_050);
        rates.push(rateIn((await node.kubelet.server.json('/stats/summary')) as Summary));
      }
      assert.ok(
        rates.every((rate) => rate > 0),
        rates.join(', '),
      );
    },
  },
  {
    name: 'metrics: /metrics/resource names our containers, /metrics/cadvisor answers',
    pods: measuredPods,
    run: async (node) => {
      await node.pods.until('measured', 'ready', isReady);
      let text = '';
      for (
        let attempt = 0;
        attempt < patience(60) && !/container_memory_working_set_bytes\{.*measured-node/.test(text);
        attempt += 1
      ) {
        text = await node.kubelet.server.text('/metrics/resource');
        await pause(1000);
      }
      assert.match(text, /container_cpu_usage_seconds_total\{.*measured-node/);
      assert.match(text, /container_memory_working_set_bytes\{.*measured-node/);
      assert.match(await node.kubelet.server.text('/metrics/cadvisor'), /container_memory_usage_bytes/);
    },
  },
  {
    name: 'eviction: the kubelet detects a writable layer beyond the ephemeral-storage limit, and an emptyDir beyond its size limit',
    pods: ({ images }) => [
      simplePod('over-limit', images.app, {
        ...shell(`head -c ${written} /dev/zero > /file; exec sleep 600`),
        resources: { limits: { 'ephemeral-storage': '1Mi' } },
      }),
      {
        name: 'over-size',
        spec: {
          volumes: [{ name: 'v', emptyDir: { sizeLimit: '1Mi' } }],
          containers: [
            {
              name: 'main',
              image: images.app,
              ...shell(`head -c ${written} /dev/zero > /v/file; exec sleep 600`),
              volumeMounts: [{ name: 'v', mountPath: '/v' }],
            },
          ],
        },
      },
    ],
    run: async ({ pods, kubelet }) => {
      // Static pods are never evicted. The intention of the kubelet is in its log.
      for (const name of ['over-limit', 'over-size']) {
        await pods.until(name, 'ready', isReady);
        const meant = new RegExp(`cannot evict a critical pod" pod="shop/${name}-node`);
        const isMeant = (): boolean => meant.test(kubelet.log());
        for (let attempt = 0; attempt < patience(240) && !isMeant(); attempt += 1) await pause(250);
        assert.ok(isMeant(), `the kubelet decides to evict ${name}`);
      }
      assert.equal(container(await pods.until('over-limit', 'running still', isReady)).restartCount, 0);
    },
  },
];
