import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import { ContainerState } from '../../runtime/client.ts';
import { patience } from '../fixtures/daemon.ts';
import { layerOf } from '../fixtures/image.ts';
import type { Layer } from '../fixtures/image.ts';
import { execute, exitOf, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Failures that a node causes for a correct daemon: writes fail, descriptors and threads are exhausted. */
describe('a node with temporary failures', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());
  const runtime = () => stage.daemon.cri.runtime;
  const stateOf = async (containerId: string) =>
    (await runtime().containerStatus({ containerId })).status?.state;

  it('reports the exit of a container that ended while the database could not be written', async () => {
    const pod = await runPod(stage, 'unwritten');
    const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'sleep 1; exit 42'] });
    // A transaction of another process: each write of the daemon fails after its timeout.
    const other = new DatabaseSync(join(stage.folders.root, 'state.db'));
    other.exec('BEGIN IMMEDIATE');
    try {
      await pause(2_000);
      assert.equal(
        (await failureOf(runtime().stopContainer({ containerId: id, timeout: 0 }))).code,
        'STORAGE_BUSY',
      );
      assert.equal(await stateOf(id), ContainerState.CONTAINER_RUNNING, 'the answer equals the record');
    } finally {
      other.exec('ROLLBACK');
      other.close();
    }
    // No client requests it.
    assert.partialDeepStrictEqual(await exitOf(stage, id), { exitCode: 42, reason: 'Error' });
    await removePod(stage, pod);
  });

  it('reports the exit of a container that ended while no descriptor was free', async () => {
    const pod = await runPod(stage, 'unread');
    const id = await runContainer(stage, pod, { image, command: ['sh', '-c', 'sleep 1; exit 42'] });
    const lives = await runContainer(stage, pod, { name: 'lives', image, command: ['sleep', '600'] });
    const prlimit = (...args: readonly string[]): string =>
      execFileSync('prlimit', ['--pid', String(stage.daemon.pid), ...args], { encoding: 'utf8' }).trim();
    const limit = prlimit('--nofile', '--noheadings', '--output', 'SOFT');
    // Every lower descriptor number is in use.
    prlimit('--nofile=3:');
    try {
      await pause(3_000);
    } finally {
      prlimit(`--nofile=${limit}:`);
    }
    assert.partialDeepStrictEqual(await exitOf(stage, id), { exitCode: 42, reason: 'Error' });
    assert.equal(await stateOf(lives), ContainerState.CONTAINER_RUNNING);
    await removePod(stage, pod);
  });

  it('keeps its daemon running while no thread can be created, and refused requests leave nothing', async (t) => {
    const crowd = openThreadLimit(stage.daemon.pid);
    if (crowd === undefined) return t.skip('no cgroup controller pids');
    const pod = await runPod(stage, 'crowded');
    const { reference } = await stage.publish('app/layers:1', { layers: await layersOf(6) });
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    crowd.fill();
    try {
      const { cri } = stage.daemon;
      const refused = { config: podConfig(stage, 'refused'), runtimeHandler: '' };
      const asked = await Promise.allSettled([
        cri.runtime.listContainerStats({}, { timeoutMs: patience }),
        cri.runtime.listPodSandboxStats({}, { timeoutMs: patience }),
        cri.runtime.runPodSandbox(refused, { timeoutMs: patience }),
        cri.image.imageFsInfo({}, { timeoutMs: patience }),
        execute(stage, id, 'true'),
        stage.pull(reference),
      ]);
      for (const one of asked)
        if (one.status === 'rejected')
          assert.ok(isPortcullisError(one.reason) && one.reason.code !== 'CRI_INTERNAL', String(one.reason));
      // The statistics are read once a second.
      await pause(2_000);
      assert.ok(stage.daemon.isAlive(), stage.daemon.log().slice(-3_000));
    } finally {
      crowd.lift();
    }
    assert.equal((await execute(stage, id, 'hostname')).stdout, 'crowded\n');
    await stage.pull(reference);
    for (const { id: podSandboxId } of (await runtime().listPodSandbox({})).items)
      await runtime().removePodSandbox({ podSandboxId });
    await crowd.close();
  });
});

const layersOf = (count: number): Promise<Layer[]> =>
  Promise.all(
    Array.from({ length: count }, (_, index) => layerOf([{ name: `f${index}`, body: `file ${index}` }])),
  );

/** A cgroup with a process in it, which limits its number of threads. */
interface ThreadLimit {
  /** Limits the processes to their current number of threads. */
  fill(): void;
  lift(): void;
  /** Moves the processes back. */
  close(): Promise<void>;
}

/** Moves the process. Returns undefined if no such cgroup can be created. */
function openThreadLimit(pid: number): ThreadLimit | undefined {
  const name = `portcullis-threads-${process.pid}`;
  const root = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'].find((path) => existsSync(path)) ?? '';
  const own = /^(?:\d+:pids|0:):(.*)$/m.exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
  const folder = join(root, name);
  mkdirSync(folder);
  if (!existsSync(join(folder, 'pids.max'))) {
    rmdirSync(folder);
    return undefined;
  }
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  write('cgroup.procs', String(pid));
  return {
    fill: () => write('pids.max', readFileSync(join(folder, 'pids.current'), 'utf8').trim()),
    lift: () => write('pids.max', 'max'),
    async close() {
      for (let tries = 0; existsSync(folder) && tries < 100; tries += 1) {
        for (const one of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n'))
          if (one !== '' && existsSync(`/proc/${one}`)) writeFileSync(join(root, own, 'cgroup.procs'), one);
        await pause(50);
        try {
          rmdirSync(folder);
        } catch {
          // A process is being started there.
        }
      }
      assert.equal(existsSync(folder), false, 'processes are left in the cgroup');
    },
  };
}
