import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { ContainerState } from '../../runtime/index.ts';
import { exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Failures that a node causes for a correct daemon: writes fail, descriptors are exhausted. */
describe('a node that fails for a while', () => {
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

  it('gets the exit of a container that ended while its database could not be written', async () => {
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
      assert.equal(await stateOf(id), ContainerState.CONTAINER_RUNNING, 'what is told is what is on record');
    } finally {
      other.exec('ROLLBACK');
      other.close();
    }
    // No client requests it.
    assert.partialDeepStrictEqual(await exitOf(stage, id), { exitCode: 42, reason: 'Error' });
    await removePod(stage, pod);
  });

  it('gets the exit of a container that ended while no descriptor was free', async () => {
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
});
