import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { removePod, runPod } from '../fixtures/pod.ts';
import { openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';
import { shapeOf } from './shape.ts';

const tool = findTool('crictl');
const run = promisify(execFile);
/** The output of the same commands on containerd (`made` names them): names of fields and metrics. */
const containerd = JSON.parse(readFileSync(join(import.meta.dirname, 'containerd-shapes.json'), 'utf8')) as {
  readonly metrics: readonly string[];
  readonly descriptors: readonly string[];
  readonly shapes: Readonly<Record<string, readonly string[]>>;
};

interface Value {
  readonly value: string;
}
interface Stats {
  readonly cpu: { readonly usageCoreNanoSeconds: Value };
  readonly memory: { readonly workingSetBytes: Value; readonly usageBytes: Value };
  readonly writableLayer: { readonly usedBytes: Value; readonly fsId: { readonly mountpoint: string } };
}

/** Data that an administrator observes on a node: statistics, metrics, events, limits, and a growing log. */
describe('crictl', { skip: tool.skip }, () => {
  let stage: Stage;
  let reference = '';
  const ids = { pod: '', container: '' };
  const script =
    'i=0; trap "exit 0" TERM; head -c 200000 /dev/zero > /file; while :; do i=$((i+1)); echo line $i; sleep 0.05; done';

  const command = (
    args: readonly string[],
  ): { readonly args: readonly string[]; readonly env: NodeJS.ProcessEnv } => {
    const endpoint = `unix://${stage.folders.socket}`;
    const options = ['--runtime-endpoint', endpoint, '--image-endpoint', endpoint, '--timeout', '20s'];
    return { args: [...options, ...args], env: { ...process.env, HOME: stage.folders.folder } };
  };
  const crictl = async (...words: string[]): Promise<string> => {
    const { args, env } = command(words);
    return (await run(tool.path, args, { env, maxBuffer: 16 * 2 ** 20 })).stdout.trim();
  };
  const json = async <T>(name: string, ...words: string[]): Promise<T> =>
    JSON.parse(await crictl(name, '--output', 'json', ...words)) as T;
  /** A command that runs until it is stopped, and all its output. */
  const follow = (
    ...words: string[]
  ): { readonly child: ChildProcess; printed(): string; until(pattern: RegExp): Promise<string> } => {
    const { args, env } = command(words);
    const child = spawn(tool.path, args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
    return {
      child,
      printed: () => text,
      until: async (pattern) => {
        for (let waited = 0; waited < 60_000 && !pattern.test(text); waited += 50) await pause(50);
        assert.match(text, pattern);
        return text;
      },
    };
  };
  const end = async ({ child }: { readonly child: ChildProcess }): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'close');
    child.kill('SIGINT');
    await gone;
  };

  before(async () => {
    stage = await openStage();
    ({ reference } = await stage.publish('app/a:1'));
    const files = {
      pod: join(stage.folders.folder, 'pod.json'),
      container: join(stage.folders.folder, 'container.json'),
    };
    const metadata = { name: 'web', uid: 'u', namespace: podNamespace, attempt: 1 };
    const linux = { cgroup_parent: stage.cgroupParent };
    writeFileSync(
      files.pod,
      JSON.stringify({
        metadata,
        hostname: 'web',
        log_directory: join(stage.logs, 'web'),
        labels: { app: 'web' },
        linux,
      }),
    );
    const image = { image: reference };
    writeFileSync(
      files.container,
      JSON.stringify({
        metadata: { name: 'main' },
        image,
        command: ['sh', '-c', script],
        log_path: 'main/0.log',
        labels: { part: 'one' },
        linux: {},
      }),
    );
    await crictl('pull', '--pod-config', files.pod, reference);
    // The container on containerd had a numeric user.
    await crictl(
      'pull',
      '--pod-config',
      files.pod,
      (await stage.publish('app/user:1', { config: { User: '1000' } })).reference,
    );
    ids.pod = await crictl('runp', files.pod);
    ids.container = await crictl('create', ids.pod, files.container, files.pod);
    await crictl('start', ids.container);
    // The writable layers are measured every ten seconds, and at the first request.
    // A rate needs two samples.
    const hasRate = async (): Promise<boolean> =>
      shapeOf(await json('statsp')).includes('stats[].linux.cpu.usageNanoCores') &&
      shapeOf(await json('stats')).includes('stats[].cpu.usageNanoCores');
    for (let waited = 0; waited < 60_000; waited += 200) {
      const { stats } = await json<{ readonly stats: readonly Stats[] }>('stats', ids.container);
      if (Number(stats[0]?.writableLayer.usedBytes.value) > 100_000 && (await hasRate())) break;
      await pause(200);
    }
  });
  after(() => stage.close());

  for (const name of [
    'stats',
    'statsp',
    'metricsp',
    'pods',
    'ps',
    'images',
    'imagefsinfo',
    'metricdescs',
    'inspect',
    'inspectp',
    'inspecti',
  ]) {
    it(`${name} returns all fields that containerd returns`, async () => {
      const subject = { inspect: [ids.container], inspectp: [ids.pod], inspecti: [reference] }[name] ?? [];
      const text = await crictl(
        name,
        ...(name.startsWith('metricdescs') || name === 'imagefsinfo' ? [] : ['--output', 'json']),
        ...subject,
      );
      const ours = new Set(shapeOf(JSON.parse(text)));
      assert.deepEqual(
        (containerd.shapes[name] ?? assert.fail('no such shape')).filter((path) => !ours.has(path)),
        [],
      );
    });
  }

  it('stats: figures of the container, as a table too, and by id, pod and label', async () => {
    const isWritten = (one: Stats | undefined): boolean =>
      Number(one?.writableLayer.usedBytes.value) >= 200_000;
    let { stats } = await json<{ readonly stats: readonly Stats[] }>('stats');
    // The layer may have been counted before the container had written its file.
    for (let waited = 0; waited < 30_000 && !isWritten(stats[0]); waited += 200) {
      await pause(200);
      ({ stats } = await json<{ readonly stats: readonly Stats[] }>('stats'));
    }
    assert.equal(stats.length, 1);
    const [own] = stats;
    assert.ok(Number(own?.cpu.usageCoreNanoSeconds.value) > 0);
    assert.ok(Number(own?.memory.workingSetBytes.value) > 0);
    assert.ok(isWritten(own));
    assert.match(
      await crictl('stats'),
      new RegExp(`${ids.container.slice(0, 13)}\\s+main\\s+[\\d.]+\\s+\\S+B\\s+\\S+B\\s+\\d+`),
    );
    assert.equal(
      (await json<{ readonly stats: readonly Stats[] }>('stats', '--pod', ids.pod)).stats.length,
      1,
    );
    assert.equal(
      (await json<{ readonly stats: readonly Stats[] }>('stats', '--label', 'part=one')).stats.length,
      1,
    );
    assert.equal(
      (await json<{ readonly stats: readonly Stats[] }>('stats', '--label', 'part=two')).stats.length,
      0,
    );
  });

  it('statsp: figures of the pod with those of its container, as a table too', async () => {
    type Pods = {
      readonly stats: readonly {
        readonly linux: { readonly containers: readonly Stats[]; readonly memory: Stats['memory'] };
      }[];
    };
    const { stats } = await json<Pods>('statsp');
    assert.equal(stats[0]?.linux.containers.length, 1);
    assert.ok(
      Number(stats[0].linux.memory.usageBytes.value) >=
        Number(stats[0].linux.containers[0]?.memory.workingSetBytes.value),
    );
    assert.match(await crictl('statsp'), new RegExp(ids.pod.slice(0, 13)));
    assert.equal((await json<Pods>('statsp', '--label', 'app=web')).stats.length, 1);
  });

  it('metricsp and metricdescs: every metric of containerd, each described, with the declared number of labels', async () => {
    type Metrics = readonly { readonly name: string; readonly labelValues: readonly string[] }[];
    type All = {
      readonly podMetrics: readonly {
        readonly metrics: Metrics;
        readonly containerMetrics: readonly { readonly metrics: Metrics }[];
      }[];
    };
    const { podMetrics } = await json<All>('metricsp');
    const reported = podMetrics.flatMap(({ metrics, containerMetrics }) => [
      ...metrics,
      ...containerMetrics.flatMap((one) => one.metrics),
    ]);
    const { descriptors } = JSON.parse(await crictl('metricdescs')) as {
      readonly descriptors: readonly { readonly name: string; readonly labelKeys: readonly string[] }[];
    };
    const keys = new Map(descriptors.map(({ name, labelKeys }) => [name, labelKeys.length]));
    const names = new Set(reported.map(({ name }) => name));
    assert.deepEqual(
      containerd.metrics.filter((name) => !names.has(name)),
      [],
    );
    assert.deepEqual(
      containerd.descriptors.filter((name) => !keys.has(name)),
      [],
    );
    assert.deepEqual(
      reported
        .filter(({ name, labelValues }) => keys.get(name) !== labelValues.length)
        .map(({ name }) => name),
      [],
    );
  });

  it('update: shares, quota, CPUs and memory, in the status and in the cgroup', async () => {
    await crictl(
      'update',
      '--memory',
      String(64 * 2 ** 20),
      '--cpu-share',
      '512',
      '--cpu-period',
      '100000',
      '--cpu-quota',
      '50000',
      ids.container,
    );
    await crictl('update', '--cpuset-cpus', '0', ids.container);
    const { status } = JSON.parse(await crictl('inspect', ids.container)) as {
      readonly status: { readonly resources: { readonly linux: Readonly<Record<string, string>> } };
    };
    const { memoryLimitInBytes, cpuShares, cpuQuota, cpuPeriod, cpusetCpus } = status.resources.linux;
    assert.deepEqual(
      [memoryLimitInBytes, cpuShares, cpuQuota, cpuPeriod, cpusetCpus],
      [String(64 * 2 ** 20), '512', '50000', '100000', '0'],
    );
    assert.match(
      await crictl('exec', '--sync', ids.container, 'sh', '-c', 'grep Cpus_allowed_list /proc/self/status'),
      /:\s+0$/,
    );
  });

  it('logs -f: existing and new lines, through a rotation, to the end; tail and times', async () => {
    assert.equal(
      await crictl('logs', '--tail', '1', ids.container).then((text) => text.split('\n').length),
      1,
    );
    assert.match(
      await crictl('logs', '--timestamps', '--tail', '1', ids.container),
      /^\d{4}-\d\d-\d\dT\S+ stdout F line \d+$|^\d{4}-\d\d-\d\dT\S+ line \d+$/,
    );
    const log = follow('logs', '--follow', ids.container);
    await log.until(/^line 1\nline 2\n/);
    const before = log.printed().split('\n').length;
    const file = join(stage.logs, 'web/main/0.log');
    renameSync(file, `${file}.1`);
    await stage.daemon.cri.runtime.reopenContainerLog({ containerId: ids.container });
    await log.until(new RegExp(`^line ${before + 60}$`, 'm'));
    await end(log);
    // Only complete lines: the last line may be incomplete because the command was stopped.
    const numbersIn = (text: string): number[] =>
      [...text.matchAll(/(?:^|stdout F )line (\d+)\n/gm)].map((match) => Number(match[1]));
    const numbers = numbersIn(log.printed());
    const last = numbers.at(-1) ?? 0;
    const rotated = readFileSync(`${file}.1`);
    const written = [...numbersIn(rotated.toString()), ...numbersIn(readFileSync(file, 'utf8'))];
    const upToLast = Array.from({ length: last }, (_, index) => index + 1);
    assert.deepEqual(written.slice(0, last), upToLast);
    // crictl turns to the new file when it sees it (ReadLogs of cri-client). It leaves out the lines at the
    // end of the old one that it has not read by then.
    const printed = new Set(numbers);
    const skipped = numbersIn(rotated.toString()).findIndex((number) => !printed.has(number));
    const lost = new Set(skipped < 0 ? [] : numbersIn(rotated.toString()).slice(skipped));
    assert.deepEqual(
      numbers,
      upToLast.filter((number) => !lost.has(number)),
    );
  });

  it('events: a stop, with the complete pod status, in the shape of containerd’s', async () => {
    const events = follow('events', '--output', 'json');
    // crictl does not say when it has subscribed.
    for (let tries = 0; events.printed() === ''; tries += 1) {
      assert.ok(tries < 100, 'crictl shows no event');
      await removePod(stage, await runPod(stage, 'probe'));
      await pause(200);
    }
    await crictl('stop', '--timeout', '5', ids.container);
    const stop = (text: string): string | undefined =>
      text
        .split(/^(?=\{)/m)
        .find(
          (part) =>
            part.includes('CONTAINER_STOPPED_EVENT') &&
            part.includes(ids.container) &&
            part.endsWith('\n}\n'),
        );
    for (let waited = 0; stop(events.printed()) === undefined; waited += 50) {
      assert.ok(waited < 60_000, events.printed());
      await pause(50);
    }
    await end(events);
    const event = JSON.parse(stop(events.printed()) ?? '') as {
      readonly containerId: string;
      readonly podSandboxStatus: { readonly id: string; readonly state: string };
      readonly containersStatuses: readonly {
        readonly id: string;
        readonly state: string;
        readonly exitCode: number;
      }[];
    };
    assert.equal(event.containerId, ids.container);
    assert.deepEqual([event.podSandboxStatus.id, event.podSandboxStatus.state], [ids.pod, 'SANDBOX_READY']);
    assert.deepEqual(
      event.containersStatuses.map(({ id, state, exitCode }) => [id, state, exitCode]),
      [[ids.container, 'CONTAINER_EXITED', 0]],
    );
    const ours = new Set(shapeOf(event));
    assert.deepEqual(
      (containerd.shapes['events'] ?? []).filter((path) => path !== '' && !ours.has(path)),
      [],
    );
  });
});
