import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createContainer, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const Mi = 1024 ** 2;
const v2 = !existsSync('/sys/fs/cgroup/memory');

/** Returns a file of a cgroup, in version 1 from the hierarchy of its controller. */
function cgroupFile(path: string, v1Name: string, v2Name: string): string {
  const file = v2
    ? join('/sys/fs/cgroup', path, v2Name)
    : join('/sys/fs/cgroup', v1Name.split('.')[0] ?? '', path, v1Name);
  return readFileSync(file, 'utf8').trim();
}

describe('resources', () => {
  let stage: Stage;
  let image = '';
  let pod: Pod;
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'resources');
  });
  after(() => stage.close());
  const at = (id: string): string => join(stage.cgroupParent, id);
  const memory = (id: string): string => cgroupFile(at(id), 'memory.limit_in_bytes', 'memory.max');
  const start = (name: string, resources: ContainerAsk['resources'], of: Pod = pod): Promise<string> =>
    runContainer(stage, of, {
      name,
      image,
      command: ['sleep', '600'],
      ...(resources !== undefined && { resources }),
    });
  const update = (containerId: string, linux: NonNullable<ContainerAsk['resources']>) =>
    stage.daemon.cri.runtime.updateContainerResources({ containerId, linux });

  for (const handler of ['crun', 'runc']) {
    it(`are set at the start, changed by an update and reported (${handler})`, async () => {
      const own = await runPod(stage, `resources-${handler}`, {}, handler);
      const id = await start(
        'main',
        {
          memoryLimitInBytes: 64 * Mi,
          cpuShares: 512,
          cpuQuota: 50_000,
          cpuPeriod: 100_000,
          cpusetCpus: '0',
        },
        own,
      );
      assert.equal(memory(id), String(64 * Mi));
      assert.equal(
        cgroupFile(at(id), 'memory.memsw.limit_in_bytes', 'memory.swap.max'),
        v2 ? '0' : String(64 * Mi),
        'no swap unless requested',
      );
      for (const limit of [256, 32, 512]) {
        await update(id, { memoryLimitInBytes: limit * Mi });
        assert.equal(memory(id), String(limit * Mi), 'up and down');
      }
      await update(id, { memorySwapLimitInBytes: 1024 * Mi });
      assert.equal(
        cgroupFile(at(id), 'memory.memsw.limit_in_bytes', 'memory.swap.max'),
        String((v2 ? 512 : 1024) * Mi),
      );
      await update(id, { cpuShares: 2048, cpuQuota: -1 });
      assert.equal(cgroupFile(at(id), 'cpu.cfs_quota_us', 'cpu.max').replace(/ .*/, ''), v2 ? 'max' : '-1');
      const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
      const { memoryLimitInBytes, memorySwapLimitInBytes, cpuShares, cpuPeriod, cpusetCpus } =
        status?.resources?.linux ?? {};
      assert.deepEqual(
        [memoryLimitInBytes, memorySwapLimitInBytes, cpuShares, cpuPeriod, cpusetCpus],
        [512 * Mi, 1024 * Mi, 2048, 100_000, '0'],
      );
      await update(id, { memoryLimitInBytes: 64 * Mi, memorySwapLimitInBytes: 64 * Mi });
      await update(id, { memoryLimitInBytes: 96 * Mi });
      assert.deepEqual(
        [memory(id), cgroupFile(at(id), 'memory.memsw.limit_in_bytes', 'memory.swap.max')],
        [String(96 * Mi), v2 ? '0' : String(96 * Mi)],
      );
      await removePod(stage, own);
    });
  }

  it('survive a restart of the daemon', async () => {
    const id = await start('lasting', { memoryLimitInBytes: 64 * Mi });
    await update(id, { memoryLimitInBytes: 96 * Mi });
    await stage.restart({ kill: true });
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.resources?.linux?.memoryLimitInBytes, 96 * Mi);
  });

  for (const handler of ['crun', 'runc'])
    it(`of which the kernel refuses a part stay as they were (${handler})`, async () => {
      const own = await runPod(stage, `partly-${handler}`, {}, handler);
      const id = await start(
        'main',
        { cpuShares: 512, cpuQuota: 50_000, cpuPeriod: 100_000, memoryLimitInBytes: 64 * Mi },
        own,
      );
      const limits = (): string[] => [
        cgroupFile(at(id), 'cpu.shares', 'cpu.weight'),
        cgroupFile(at(id), 'cpu.cfs_quota_us', 'cpu.max'),
        memory(id),
        cgroupFile(at(id), 'cpuset.cpus', 'cpuset.cpus.effective'),
      ];
      const before = limits();
      const changed = { cpuShares: 2048, cpuQuota: 20_000, memoryLimitInBytes: 128 * Mi };
      const failure = await failureOf(update(id, { ...changed, cpusetCpus: '4000' }));
      assert.equal(failure.kind, 'precondition', failure.message);
      assert.deepEqual(limits(), before);
      const other = await failureOf(update(id, { cpusetCpus: '0', cpusetMems: '4000' }));
      assert.equal(other.kind, 'precondition', other.message);
      assert.deepEqual(limits(), before);
      const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
      assert.equal(status?.resources?.linux?.cpuShares, 512);
      await update(id, changed);
      assert.equal(memory(id), String(128 * Mi));
      await removePod(stage, own);
    });

  // With version 2, the kernel itself would accept the limit and kill the processes.
  for (const handler of ['crun', 'runc'])
    it(`with a memory limit below the usage are refused (${handler})`, async () => {
      const own = await runPod(stage, `in-use-${handler}`, {}, handler);
      const id = await start('main', { memoryLimitInBytes: 64 * Mi }, own);
      const failure = await failureOf(update(id, { memoryLimitInBytes: 4096 }));
      assert.equal(failure.code, 'RUNTIME_LIMIT_IN_USE', failure.message);
      assert.equal(memory(id), String(64 * Mi));
      await removePod(stage, own);
    });

  it('that no kernel accepts are refused as invalid arguments, and change nothing', async () => {
    const id = await start('bad', { memoryLimitInBytes: 64 * Mi });
    for (const resources of [
      { memoryLimitInBytes: -5 },
      { cpuQuota: 1 },
      { cpuPeriod: 2 ** 50 },
      { cpusetCpus: '0\n1' },
      { hugepageLimits: [{ pageSize: '../x', limit: 1 }] },
      { memoryLimitInBytes: 64 * Mi, memorySwapLimitInBytes: Mi },
      { unified: { 'cgroup.procs': '1' } },
    ]) {
      assert.equal((await failureOf(update(id, resources))).kind, 'invalid', JSON.stringify(resources));
      assert.equal(
        (await failureOf(createContainer(stage, pod, { name: 'other', image, resources }))).kind,
        'invalid',
      );
    }
    assert.equal(memory(id), String(64 * Mi));
    const { status } = await stage.daemon.cri.runtime.containerStatus({ containerId: id });
    assert.equal(status?.resources?.linux?.memoryLimitInBytes, 64 * Mi);
  });

  it('of a pod are stored, and are set if the daemon created the cgroup', async () => {
    const resources = { memoryLimitInBytes: 256 * Mi, cpuQuota: 40_000, cpuPeriod: 100_000, cpuShares: 100 };
    const { runtime } = stage.daemon.cri;
    await runtime.updatePodSandboxResources({
      podSandboxId: pod.id,
      resources,
      overhead: { memoryLimitInBytes: 16 * Mi },
    });
    assert.notEqual(
      cgroupFile(stage.cgroupParent, 'memory.limit_in_bytes', 'memory.max'),
      String(272 * Mi),
      'a cgroup of the caller is not changed',
    );
    await stage.restart();
    const { info } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
    const known = JSON.parse(info['info'] ?? '{}') as {
      config: { linux: { resources: object; overhead: object } };
    };
    assert.deepEqual(known.config.linux.resources, {
      ...known.config.linux.resources,
      ...{ memory_limit_in_bytes: 256 * Mi, cpu_quota: 40_000, cpu_period: 100_000, cpu_shares: 100 },
    });

    const own = await runPod(stage, 'own-cgroup', { linux: { cgroupParent: '' } });
    const id = await start('main', undefined, own);
    await stage.daemon.cri.runtime.updatePodSandboxResources({
      podSandboxId: own.id,
      resources,
      overhead: { memoryLimitInBytes: 16 * Mi },
    });
    const path = `/portcullis/${own.id}`;
    assert.equal(
      cgroupFile(path, 'memory.limit_in_bytes', 'memory.max'),
      String(272 * Mi),
      `with the overhead; ${id}`,
    );
    assert.equal(cgroupFile(path, 'cpu.cfs_quota_us', 'cpu.max').replace(/ .*/, ''), '40000');
    const shares = cgroupFile(path, 'cpu.shares', 'cpu.weight');
    const refused = await failureOf(
      stage.daemon.cri.runtime.updatePodSandboxResources({
        podSandboxId: own.id,
        resources: { ...resources, cpuShares: 5000, cpuQuota: 2 ** 53 },
      }),
    );
    assert.equal(refused.code, 'RUNTIME_CGROUP_LIMIT_FAILED', refused.message);
    assert.equal(
      cgroupFile(path, 'cpu.shares', 'cpu.weight'),
      shares,
      'an update that fails changes nothing',
    );
    await removePod(stage, own);
    const unknown = await failureOf(
      stage.daemon.cri.runtime.updatePodSandboxResources({ podSandboxId: 'f'.repeat(64) }),
    );
    assert.equal(unknown.kind, 'not-found');
    const bad = await failureOf(
      stage.daemon.cri.runtime.updatePodSandboxResources({
        podSandboxId: pod.id,
        resources: { cpuShares: -1 },
      }),
    );
    assert.equal(bad.kind, 'invalid');
  });

  for (const handler of ['crun', 'runc'])
    it(`of a pod are set before its first process starts (${handler})`, async () => {
      const resources = { memoryLimitInBytes: 256 * Mi, cpuQuota: 40_000, cpuPeriod: 100_000 };
      const overhead = { memoryLimitInBytes: 16 * Mi };
      const own = await runPod(
        stage,
        `early-${handler}`,
        { linux: { cgroupParent: '', resources, overhead } },
        handler,
      );
      const limits = (): string[] => [
        cgroupFile(`/portcullis/${own.id}`, 'memory.limit_in_bytes', 'memory.max'),
        cgroupFile(`/portcullis/${own.id}`, 'cpu.cfs_quota_us', 'cpu.max').replace(/ .*/, ''),
      ];
      const id = await createContainer(stage, own, { name: 'first', image });
      assert.deepEqual(limits(), [String(272 * Mi), '40000'], 'as RunPodSandbox requests');
      const { runtime } = stage.daemon.cri;
      await runtime.removeContainer({ containerId: id });
      await removePod(stage, own);

      const later = await runPod(stage, `later-${handler}`, { linux: { cgroupParent: '' } }, handler);
      await runtime.updatePodSandboxResources({ podSandboxId: later.id, resources, overhead });
      await createContainer(stage, later, { name: 'first', image });
      assert.equal(
        cgroupFile(`/portcullis/${later.id}`, 'memory.limit_in_bytes', 'memory.max'),
        String(272 * Mi),
        'as an update before the first container requests',
      );
      await removePod(stage, later);
    });

  it('of the runtime: the pod CIDR is accepted, and invalid values are refused', async () => {
    const { runtime } = stage.daemon.cri;
    await runtime.updateRuntimeConfig({
      runtimeConfig: { networkConfig: { podCidr: '10.9.0.0/24,fd00:9::/64' } },
    });
    await runtime.updateRuntimeConfig({});
    const { info } = await runtime.status({ verbose: true });
    assert.deepEqual((JSON.parse(info['config'] ?? '{}') as { podCidrs: string[] }).podCidrs, [
      '10.9.0.0/24',
      'fd00:9::/64',
    ]);
    for (const podCidr of ['10.9.0.0', '10.9.0.0/33', 'x/24', '10.9.0.0/24\n']) {
      const call = runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });
      if (podCidr.endsWith('\n')) await call;
      else assert.equal((await failureOf(call)).kind, 'invalid', podCidr);
    }
  });

  it('checkpoints are refused with the reason', async () => {
    const { runtime } = stage.daemon.cri;
    const id = await start('kept', undefined);
    for (const call of [
      runtime.checkpointContainer({ containerId: id, location: '/tmp/x' }),
      runtime.checkpointPod({ podSandboxId: pod.id, outputPath: '/tmp/x' }),
      runtime.restorePod({ checkpointPath: '/tmp/x', config: pod.config }),
    ]) {
      const failure = await failureOf(call);
      assert.equal(failure.kind, 'unimplemented');
      assert.match(failure.message, /does not write or restore checkpoints|checkpoints are disabled/);
    }
    assert.equal(
      (await failureOf(runtime.checkpointContainer({ containerId: 'f'.repeat(64) }))).kind,
      'not-found',
    );
  });
});
