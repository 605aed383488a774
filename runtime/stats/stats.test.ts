import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { startKernelWorker } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { readCgroupMounts } from '../cgroups/cgroups.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { createStats } from './stats.ts';
import type { Stats } from './stats.ts';

const config = { metadata: { name: 'n', namespace: 's', uid: 'u', attempt: 0 }, labels: {}, annotations: {} };
const container = (id: string, sandboxId: string): ContainerRecord =>
  ({
    id,
    sandboxId,
    phase: 'exited',
    startedAt: '5000000000',
    reason: 'Error',
    imageId: 'sha256:0',
    config,
  }) as unknown as ContainerRecord;

describe('statistics without running containers', () => {
  const containers = [container('a', 'pod'), container('b', 'pod')];
  const sandboxes = ['pod', 'gone'].map(
    (id) =>
      ({
        id,
        phase: id === 'pod' ? 'ready' : 'stopped',
        cgroupParent: '/no/such/cgroup',
        config,
      }) as unknown as SandboxRecord,
  );
  let kernel: Kernel;
  let folder = '';
  const make = (separate: boolean): Stats =>
    createStats({
      cgroups: readCgroupMounts(),
      kernel,
      writableLayers: { folder: (id) => join(folder, id), mountpoint: folder, separate },
      containers: () => containers,
      sandboxes: () => sandboxes,
      runtimeKind: () => 'crun',
    });
  let stats: Stats;
  before(async () => {
    kernel = await startKernelWorker();
    folder = mkdtempSync(join(tmpdir(), 'pc-stats-'));
    for (const { id } of containers) {
      mkdirSync(join(folder, id));
      writeFileSync(join(folder, id, 'file'), Buffer.alloc(8192));
    }
    // The kernel's thread starts with the first folder, and a caller waits at most a second for a first
    // value.
    await kernel.diskUsage(folder);
    stats = make(false);
  });
  after(async () => {
    await stats.close();
    await kernel.close();
    rmSync(folder, { recursive: true });
  });

  test('a separate file system of the containers is reported as the sum of their layers, and a shared file system is not', async () => {
    assert.equal(await stats.containerFilesystem(), undefined);
    const apart = make(true);
    const usage = await apart.containerFilesystem();
    assert.equal(usage?.inodesUsed?.value, 4);
    assert.ok((usage.usedBytes?.value ?? 0) >= 2 * 8192);
    assert.equal(usage.fsId?.mountpoint, folder);
    await apart.close();
  });

  test('a pod without a cgroup has no usage, and a stopped pod is omitted', async () => {
    const [pod, ...others] = await stats.ofSandboxes(sandboxes);
    assert.deepEqual(others, []);
    assert.equal(pod?.attributes?.id, 'pod');
    assert.equal(pod.linux?.cpu?.usageCoreNanoSeconds?.value, 0);
    assert.equal(pod.linux.memory?.workingSetBytes?.value, 0);
    assert.ok(BigInt(pod.linux.cpu.timestamp ?? 0) > 0n);
    assert.equal(pod.linux.network, undefined);
    assert.deepEqual(
      pod.linux.containers?.map(({ attributes, cpu, writableLayer }) => [
        attributes?.id,
        cpu,
        writableLayer?.inodesUsed?.value,
      ]),
      [
        ['a', undefined, 2],
        ['b', undefined, 2],
      ],
    );
  });

  test('metrics of containers that have ended', async () => {
    const metrics = await stats.metricsOf(sandboxes);
    assert.deepEqual(
      metrics.map(({ podSandboxId }) => podSandboxId),
      ['pod'],
    );
    assert.deepEqual(
      metrics[0]?.containerMetrics?.map(({ containerId, metrics: own }) => [
        containerId,
        own?.map(({ name, value }) => [name, value?.value]),
      ]),
      ['a', 'b'].map((id) => [
        id,
        [
          ['container_start_time_seconds', 5],
          ['container_oom_events_total', 0],
        ],
      ]),
    );
  });
});
