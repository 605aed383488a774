import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import type { CriClient } from '../../runtime/client.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

type ContainerStats = NonNullable<Awaited<ReturnType<CriClient['runtime']['containerStats']>>['stats']>;
type Metric = Awaited<
  ReturnType<CriClient['runtime']['listPodSandboxMetrics']>
>['podMetrics'][number]['metrics'][number];

const mebibyte = 2 ** 20;
/** A tenth of a CPU. */
const tenth = { cpuPeriod: 100_000, cpuQuota: 10_000 };
const busy = ['sh', '-c', 'while :; do :; done'];

describe('resource usage of pods and containers', () => {
  let stage: Stage;
  let image = '';
  let reference = '';
  before(async () => {
    stage = await openStage();
    ({ reference } = await stage.publish('app/a:1'));
    image = await stage.pull(reference);
  });
  after(() => stage.close());
  const runtime = () => stage.daemon.cri.runtime;
  const statsOf = async (containerId: string): Promise<ContainerStats> => {
    const { stats } = await runtime().containerStats({ containerId });
    return stats ?? assert.fail('there are stats');
  };
  /**
   * Returns its writable layer once it is measured. A request waits at most a second for the first value.
   */
  const layerOf = async (containerId: string) => {
    for (let attempt = 0; attempt < 60; attempt += 1) {
      const { writableLayer } = await statsOf(containerId);
      if (writableLayer !== undefined) return writableLayer;
    }
    assert.fail('the writable layer is not counted');
  };
  const listed = async (filter: object) =>
    (await runtime().listContainerStats({ filter })).stats.map(({ attributes }) => attributes?.id);

  /** Returns the text of a file of a container's cgroup, by its name in the cgroup version. */
  const cgroupFile = (id: string, controller: string, one: string, two: string): string | undefined => {
    const version2 = join('/sys/fs/cgroup', stage.cgroupParent, id, two);
    const path = existsSync('/sys/fs/cgroup/cgroup.controllers')
      ? version2
      : join('/sys/fs/cgroup', controller, stage.cgroupParent, id, one);
    return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  };
  const cpuTime = (id: string): number => {
    const text = cgroupFile(id, 'cpuacct', 'cpuacct.usage', 'cpu.stat') ?? '';
    const microseconds = /^usage_usec (\d+)/m.exec(text)?.[1];
    return microseconds === undefined ? Number(text) : Number(microseconds) * 1000;
  };

  describe('a busy container', () => {
    let pod: Pod;
    let id = '';
    before(async () => {
      pod = await runPod(stage, 'busy', { labels: { app: 'busy' } });
      const resources = { ...tenth, memoryLimitInBytes: 64 * mebibyte };
      id = await runContainer(stage, pod, {
        image,
        reference,
        command: busy,
        resources,
        more: { labels: { tier: 'web' }, annotations: { note: 'ä' } },
      });
    });
    after(() => removePod(stage, pod));

    it('has statistics at once, and a rate as soon as there are two samples', async () => {
      const first = await statsOf(id);
      assert.deepEqual(first.attributes, {
        id,
        metadata: { name: 'main', attempt: 0 },
        labels: { tier: 'web' },
        annotations: { note: 'ä' },
      });
      assert.ok((first.cpu?.usageCoreNanoSeconds?.value ?? 0) > 0);
      assert.ok((first.memory?.workingSetBytes?.value ?? 0) > 0);
      assert.ok(((await layerOf(id)).inodesUsed?.value ?? 0) > 0);
      assert.ok(
        Math.abs(Number((first.cpu?.timestamp ?? 0n) / 1_000_000n) - Date.now()) < 10_000,
        'nanoseconds since 1970',
      );
    });

    it('uses about its quota, as the kernel enforces it', async () => {
      const ofContainer = async () => (await statsOf(id)).cpu?.usageNanoCores?.value ?? 0;
      const ofPod = async () => {
        const { stats } = await runtime().listPodSandboxStats({ filter: { id: pod.id } });
        return stats[0]?.linux?.cpu?.usageNanoCores?.value ?? 0;
      };
      for (const rateOf of [ofContainer, ofPod]) {
        let rate = 0;
        for (let attempt = 0; attempt < 300 && rate < 0.05e9; attempt += 1) {
          await pause(200);
          rate = await rateOf();
        }
        assert.ok(rate >= 0.05e9 && rate <= 0.2e9, `${rate} nanocores where 100000000 are allowed`);
      }
    });

    it('has the values of its cgroup', async () => {
      const before = cpuTime(id);
      const { cpu, memory } = await statsOf(id);
      const afterwards = cpuTime(id);
      const reported = cpu?.usageCoreNanoSeconds?.value ?? 0;
      assert.ok(
        before > 0 && before <= reported && reported <= afterwards,
        `${before} <= ${reported} <= ${afterwards}`,
      );
      const stat = cgroupFile(id, 'memory', 'memory.stat', 'memory.stat') ?? '';
      const value = (...names: string[]): number =>
        Number(new RegExp(`^(?:${names.join('|')}) (\\d+)`, 'm').exec(stat)?.[1]);
      // The kernel adds up the values of its CPUs a little later.
      assert.ok(Math.abs((memory?.rssBytes?.value ?? 0) - value('total_rss', 'anon')) <= mebibyte / 2);
      const faults = stat.includes('total_pgfault') ? value('total_pgfault') : value('pgfault');
      assert.ok((memory?.pageFaults?.value ?? Infinity) <= faults);
      assert.ok((memory?.usageBytes?.value ?? 0) >= (memory?.workingSetBytes?.value ?? 0));
      assert.equal(
        (memory?.availableBytes?.value ?? 0) + (memory?.workingSetBytes?.value ?? 0),
        64 * mebibyte,
      );
    });

    it('has the pressure of its cgroup, if the kernel measures it', async (t) => {
      const total = (text: string | undefined): number =>
        Number(/^some .*total=(\d+)$/m.exec(text ?? '')?.[1]) * 1000;
      const before = total(cgroupFile(id, '', '', 'cpu.pressure'));
      const { cpu, memory, io } = await statsOf(id);
      if (Number.isNaN(before)) {
        assert.deepEqual([cpu?.psi, memory?.psi, io], [undefined, undefined, undefined]);
        return t.diagnostic('this kernel does not measure the pressure of cgroups');
      }
      const reported = cpu?.psi?.Some?.Total ?? 0;
      assert.ok(
        before > 0 && before <= reported && reported <= total(cgroupFile(id, '', '', 'cpu.pressure')),
        'a limited container waits',
      );
      assert.ok((cpu?.psi?.Some?.Avg10 ?? -1) >= 0);
      assert.ok(memory?.psi !== undefined && io?.psi !== undefined);
      const { descriptors } = await runtime().listMetricDescriptors({});
      assert.equal(descriptors.filter(({ name }) => name.startsWith('container_pressure_')).length, 6);
    });

    it('appears in the metrics, each with the labels that its descriptor names', async () => {
      const { descriptors } = await runtime().listMetricDescriptors({});
      const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys]));
      const { podMetrics } = await runtime().listPodSandboxMetrics({});
      const own = podMetrics.find(({ podSandboxId }) => podSandboxId === pod.id);
      const ofContainer = own?.containerMetrics.find(({ containerId }) => containerId === id)?.metrics ?? [];
      const labelled = (metric: Metric): Record<string, string> =>
        Object.fromEntries(
          (keys.get(metric.name) ?? []).map((key, index) => [key, metric.labelValues[index] ?? '']),
        );
      for (const metric of [...(own?.metrics ?? []), ...ofContainer]) {
        assert.equal(metric.labelValues.length, keys.get(metric.name)?.length, metric.name);
        const { pod: name, namespace, container, id: whose, image: from } = labelled(metric);
        assert.deepEqual([name, namespace], ['busy', 'shop']);
        if (ofContainer.includes(metric)) assert.deepEqual([container, whose, from], ['main', id, reference]);
        else assert.deepEqual([container, whose, from], ['', pod.id, '']);
      }
      const value = (name: string): number | undefined =>
        ofContainer.find((metric) => metric.name === name)?.value?.value;
      assert.equal(value('container_spec_memory_limit_bytes'), 64 * mebibyte);
      assert.equal(value('container_spec_cpu_quota'), 10_000);
      assert.equal(value('container_processes'), 1);
      // With version 2, a command has a cgroup below that of its container.
      const command = runtime().execSync({ containerId: id, cmd: ['tail', '-f', '/dev/null'], timeout: 120 });
      const processes = async (): Promise<number | undefined> => {
        const listed = (await runtime().listPodSandboxMetrics({})).podMetrics;
        const metrics = listed.flatMap(({ containerMetrics }) => containerMetrics);
        const mine = metrics.find(({ containerId }) => containerId === id)?.metrics ?? [];
        return mine.find(({ name }) => name === 'container_processes')?.value?.value;
      };
      while ((await processes()) !== 2) await pause(50);
      await execute(stage, id, 'sh', '-c', 'kill $(pidof tail)');
      await command;
      assert.equal(value('container_oom_events_total'), 0);
      assert.ok((value('container_cpu_cfs_throttled_periods_total') ?? 0) > 0);
      const { stats } = await runtime().containerStats({ containerId: id });
      assert.ok(
        Math.abs((value('container_memory_rss') ?? 0) - (stats?.memory?.rssBytes?.value ?? 0)) <=
          mebibyte / 2,
      );
    });

    it('can be selected by id, prefix, pod and label', async () => {
      for (const filter of [
        { id },
        { id: id.slice(0, 13) },
        { podSandboxId: pod.id },
        { podSandboxId: pod.id.slice(0, 10) },
        { labelSelector: { tier: 'web' } },
      ])
        assert.deepEqual(await listed(filter), [id], JSON.stringify(filter));
      for (const filter of [
        { id: 'ffffffff' },
        { podSandboxId: 'ffffffff' },
        { labelSelector: { tier: 'web', more: '' } },
        { id, podSandboxId: 'ffffffff' },
      ])
        assert.deepEqual(await listed(filter), [], JSON.stringify(filter));
      const pods = async (filter: object) =>
        (await runtime().listPodSandboxStats({ filter })).stats.map(({ attributes }) => attributes?.id);
      for (const filter of [{ id: pod.id }, { id: pod.id.slice(0, 9) }, { labelSelector: { app: 'busy' } }])
        assert.deepEqual(await pods(filter), [pod.id]);
      for (const filter of [{ id: 'ffff' }, { labelSelector: { app: 'idle' } }])
        assert.deepEqual(await pods(filter), []);
    });

    it('streams return the same items as the lists', async () => {
      const [containers, pods, metrics] = await Promise.all([
        all(runtime().streamContainerStats({}), ({ containerStats }) =>
          containerStats.map(({ attributes }) => attributes?.id),
        ),
        all(runtime().streamPodSandboxStats({}), ({ podSandboxStats }) =>
          podSandboxStats.map(({ attributes }) => attributes?.id),
        ),
        all(runtime().streamPodSandboxMetrics({}), ({ podSandboxMetrics }) =>
          podSandboxMetrics.map(({ podSandboxId }) => podSandboxId),
        ),
      ]);
      assert.deepEqual(containers, await listed({}));
      assert.deepEqual(pods, [pod.id]);
      assert.deepEqual(metrics, [pod.id]);
    });
  });

  it('memory is the working set of a container, and an OOM kill is counted', async () => {
    const pod = await runPod(stage, 'memory');
    const resources = { memoryLimitInBytes: 64 * mebibyte, memorySwapLimitInBytes: 64 * mebibyte };
    const command = ['sh', '-c', 'dd if=/dev/zero of=/dev/shm/held bs=1M count=20 && exec sleep 600'];
    const id = await runContainer(stage, pod, { image, command, resources });
    const workingSet = async (): Promise<number> => (await statsOf(id)).memory?.workingSetBytes?.value ?? 0;
    for (let attempt = 0; attempt < 1200 && (await workingSet()) < 20 * mebibyte; attempt += 1)
      await pause(50);
    const held = await workingSet();
    assert.ok(held >= 20 * mebibyte && held < 32 * mebibyte, `${held}`);
    const { memory, swap } = await statsOf(id);
    assert.equal((memory?.availableBytes?.value ?? 0) + (memory?.workingSetBytes?.value ?? 0), 64 * mebibyte);
    assert.equal(swap?.swapUsageBytes?.value ?? 0, 0);
    const swapLimit =
      cgroupFile(id, 'memory', 'memory.memsw.limit_in_bytes', 'memory.swap.max')?.trim() ?? '';
    if (['0', String(64 * mebibyte)].includes(swapLimit))
      assert.equal(swap?.swapAvailableBytes?.value, 0, 'the limit leaves no swap');

    const greedy = await runContainer(stage, pod, {
      image,
      name: 'greedy',
      command: ['sh', '-c', 'exec tail /dev/zero'],
      resources,
    });
    assert.equal((await exitOf(stage, greedy)).reason, 'OOMKilled');
    const { podMetrics } = await runtime().listPodSandboxMetrics({});
    const ooms = (of: string): number | undefined =>
      podMetrics
        .flatMap(({ containerMetrics }) => containerMetrics)
        .find(({ containerId }) => containerId === of)
        ?.metrics.find(({ name }) => name === 'container_oom_events_total')?.value?.value;
    assert.ok((ooms(greedy) ?? 0) >= 1);
    assert.equal(ooms(id), 0);
    await removePod(stage, pod);
  });

  it('the writable layer grows with writes, and remains after the process ends', async () => {
    const pod = await runPod(stage, 'writes');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const used = () => layerOf(id);
    const before = await used();
    assert.ok((before.usedBytes?.value ?? Infinity) < mebibyte);
    assert.equal(before.fsId?.mountpoint, join(stage.folders.root, 'images'));
    assert.equal(
      (await execute(stage, id, 'sh', '-c', 'dd if=/dev/zero of=/written bs=1M count=5 && touch /one /two'))
        .exitCode,
      0,
    );
    // Measured again when the value is ten seconds old.
    let grown = await used();
    for (let attempt = 0; attempt < 300 && (grown.usedBytes?.value ?? 0) < 5 * mebibyte; attempt += 1) {
      await pause(200);
      grown = await used();
    }
    const bytes = (grown.usedBytes?.value ?? 0) - (before.usedBytes?.value ?? 0);
    assert.ok(bytes >= 5 * mebibyte && bytes < 6 * mebibyte, `${bytes}`);
    assert.equal((grown.inodesUsed?.value ?? 0) - (before.inodesUsed?.value ?? 0), 3);

    await runtime().stopContainer({ containerId: id, timeout: 0 });
    const ended = await statsOf(id);
    assert.deepEqual([ended.cpu, ended.memory, ended.swap], [undefined, undefined, undefined]);
    assert.ok((ended.writableLayer?.usedBytes?.value ?? 0) >= 5 * mebibyte);
    assert.deepEqual(await listed({ id }), [id]);
    await removePod(stage, pod);
    assert.deepEqual(await listed({ id }), []);
    assert.equal((await failureOf(runtime().containerStats({ containerId: id }))).kind, 'not-found');
  });

  it('a created container reports only its writable layer', async () => {
    const pod = await runPod(stage, 'created');
    const id = await createContainer(stage, pod, { image, command: busy });
    const stats = await statsOf(id);
    assert.equal(stats.cpu, undefined);
    assert.ok(((await layerOf(id)).inodesUsed?.value ?? 0) > 0);
    await removePod(stage, pod);
  });

  it('network statistics of a pod exist with and without a container; a pod in the host network namespace has none', async () => {
    const pod = await runPod(stage, 'network');
    const network = async (podSandboxId: string) =>
      (await runtime().podSandboxStats({ podSandboxId })).stats?.linux?.network;
    const quiet = await network(pod.id);
    assert.deepEqual(
      quiet?.interfaces.map(({ name }) => name),
      ['eth0'],
    );
    assert.equal(quiet.defaultInterface?.name, 'eth0');
    const empty = (await runtime().podSandboxStats({ podSandboxId: pod.id })).stats;
    assert.deepEqual([empty?.linux?.process?.processCount?.value, empty?.linux?.containers], [0, []]);
    assert.ok(empty?.linux?.cpu !== undefined && empty.linux.memory !== undefined);

    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    await execute(stage, id, 'ping', '-c', '3', '-i', '0.1', '-s', '1000', '-w', '3', '10.211.0.1');
    const sent = await network(pod.id);
    assert.ok(
      (sent?.defaultInterface?.txBytes?.value ?? 0) - (quiet.defaultInterface.txBytes?.value ?? 0) >= 3_000,
    );
    const dev = (await execute(stage, id, 'cat', '/proc/net/dev')).stdout;
    assert.equal(sent?.defaultInterface?.txErrors?.value, Number(/eth0:(?: *\d+){10} +(\d+)/.exec(dev)?.[1]));
    assert.equal(
      (await runtime().podSandboxStats({ podSandboxId: pod.id })).stats?.linux?.process?.processCount?.value,
      1,
    );

    const host = await runPod(stage, 'host', {
      linux: { securityContext: { namespaceOptions: { network: 2, pid: 1, ipc: 0 } } },
    });
    assert.equal(await network(host.id), undefined);
    for (const one of [host, pod]) await removePod(stage, one);
  });

  it('a stopped pod is not in lists, and a request for only this pod is refused with the reason', async () => {
    const pod = await runPod(stage, 'stopped');
    await runContainer(stage, pod, { image, command: busy, resources: tenth });
    await runtime().stopPodSandbox({ podSandboxId: pod.id });
    const failure = await failureOf(runtime().podSandboxStats({ podSandboxId: pod.id }));
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_NO_POD_STATS', 'unavailable']);
    assert.deepEqual((await runtime().listPodSandboxStats({})).stats, []);
    assert.deepEqual((await runtime().listPodSandboxMetrics({})).podMetrics, []);
    await removePod(stage, pod);
    assert.equal((await failureOf(runtime().podSandboxStats({ podSandboxId: pod.id }))).kind, 'not-found');
    for (const id of ['', 'f'.repeat(64)]) {
      assert.equal((await failureOf(runtime().containerStats({ containerId: id }))).kind, 'not-found');
      assert.equal((await failureOf(runtime().podSandboxStats({ podSandboxId: id }))).kind, 'not-found');
    }
  });

  it('images use one file system, which containers share', async () => {
    const { imageFilesystems, containerFilesystems } = await stage.daemon.cri.image.imageFsInfo({});
    assert.equal(imageFilesystems.length, 1);
    assert.equal(imageFilesystems[0]?.fsId?.mountpoint, join(stage.folders.root, 'images'));
    assert.ok(
      (imageFilesystems[0].usedBytes?.value ?? 0) > mebibyte &&
        (imageFilesystems[0].inodesUsed?.value ?? 0) >= 3,
    );
    assert.deepEqual(containerFilesystems, []);
  });

  it('statistics continue after the daemon was killed', async () => {
    const pod = await runPod(stage, 'again');
    const id = await runContainer(stage, pod, { image, command: busy, resources: tenth });
    const before = await statsOf(id);
    await stage.restart({ kill: true });
    const again = await statsOf(id);
    assert.ok(
      (again.cpu?.usageCoreNanoSeconds?.value ?? 0) > (before.cpu?.usageCoreNanoSeconds?.value ?? Infinity),
    );
    await removePod(stage, pod);
  });
});

async function all<Message, Item>(
  stream: AsyncIterable<Message>,
  items: (message: Message) => Item[],
): Promise<Item[]> {
  const found: Item[] = [];
  for await (const message of stream) found.push(...items(message));
  return found;
}
