import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { isPortcullisError } from '../../base/errors/index.ts';
import {
  createContainer,
  execute,
  exitOf,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The file of a stage's state that a test fills the file system with. */
const fillerOf = ({ folders }: Stage): string => join(folders.state, 'filler');

/**
 * Opens a stage whose folder for the state is a file system in memory with a limit.
 * @param limit an option of tmpfs(5)
 */
async function stageOnTmpfs(t: TestContext, limit: string): Promise<Stage> {
  const stage = await openStage();
  const { state } = stage.folders;
  const run = (command: string, ...words: readonly string[]) => ({
    meanwhile: () => Promise.resolve(void execFileSync(command, words)),
  });
  t.after(async () => {
    rmSync(fillerOf(stage), { force: true });
    try {
      await stage.restart(run('umount', '--lazy', state));
    } finally {
      await stage.close();
    }
  });
  await stage.restart(run('mount', '-t', 'tmpfs', '-o', `mode=0700,${limit}`, 'none', state));
  return stage;
}

it(
  'no container fails for good because the file system of the state has no files left',
  { timeout: 300_000 },
  async (t) => {
    const stage = await stageOnTmpfs(t, 'nr_inodes=600');
    const { state } = stage.folders;
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'crowded');
    const many = join(state, 'many');
    let refused = 0;
    for (let left = 0; left < 8; left += 1) {
      mkdirSync(many);
      let made = 0;
      assert.throws(
        () => {
          for (; ; made += 1) writeFileSync(join(many, String(made)), '');
        },
        { code: 'ENOSPC' },
      );
      for (let index = made - left; index < made; index += 1) rmSync(join(many, String(index)));
      for (const name of ['first', 'second'])
        try {
          await runContainer(stage, pod, { image, name: `${name}-${left}`, command: ['true'] });
        } catch (thrown) {
          refused += 1;
          // The start of a container that exists is not repeated: its pod would have failed.
          assert.ok(isPortcullisError(thrown) && thrown.code !== 'RUNTIME_START_FAILED', String(thrown));
          assert.equal(thrown.kind, 'exhausted', `${left} files left: ${String(thrown)}`);
          assert.equal(existsSync(join(stage.logs, `crowded/${name}-${left}`)), false, 'no log is left');
        }
      rmSync(many, { recursive: true });
    }
    assert.ok(refused > 0);
    assert.equal(
      (await exitOf(stage, await runContainer(stage, pod, { image, command: ['true'] }))).exitCode,
      0,
    );
    await removePod(stage, pod);
  },
);

it(
  'a request that finds no space for the state names the file, and leaves none that is incomplete',
  { timeout: 300_000 },
  async (t) => {
    const stage = await stageOnTmpfs(t, 'size=16m');
    const { state } = stage.folders;
    const filler = fillerOf(stage);
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'first');
    const containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    assert.throws(
      () => {
        for (;;) appendFileSync(filler, 'x'.repeat(4096));
      },
      { code: 'ENOSPC' },
    );
    const update = { containerId, linux: { memoryLimitInBytes: 100_000_000 } };
    for (const failure of [
      await failureOf(execute(stage, containerId, 'true')),
      await failureOf(stage.daemon.cri.runtime.updateContainerResources(update)),
      await failureOf(runPod(stage, 'second')),
      await failureOf(createContainer(stage, pod, { image, name: 'second', command: ['true'] })),
    ]) {
      assert.equal(failure.code, 'STORAGE_DISK_FULL');
      assert.ok(failure.failure.on.startsWith(state), String(failure));
    }
    const names = readdirSync(state, { recursive: true }).map(String);
    assert.deepEqual(
      names.filter((name) => /\/(?:exec-|\.update-)/u.test(name)),
      [],
    );
    rmSync(filler);
    assert.equal((await execute(stage, containerId, 'true')).exitCode, 0);
    await removePod(stage, pod);
  },
);

it('a request that finds the file system of the state read-only says so', { timeout: 300_000 }, async (t) => {
  const stage = await stageOnTmpfs(t, 'size=16m');
  const { state } = stage.folders;
  const remount = (access: string): void => void execFileSync('mount', ['-o', `remount,${access}`, state]);
  const image = await stage.pull((await stage.publish('app/a:1')).reference);
  const pod = await runPod(stage, 'first');
  remount('ro');
  try {
    // The second pod finds no prepared namespaces.
    const shared = {
      linux: { securityContext: { namespaceOptions: { ...namespaceOptions, pid: 0 } } },
    } as const;
    for (const failure of [
      await failureOf(runPod(stage, 'second')),
      await failureOf(runPod(stage, 'third')),
      await failureOf(runPod(stage, 'shared', shared)),
      await failureOf(createContainer(stage, pod, { image, command: ['true'] })),
    ]) {
      assert.match(failure.message, /read-only/);
      assert.notEqual(failure.kind, 'internal');
    }
  } finally {
    remount('rw');
  }
  assert.equal(
    (await exitOf(stage, await runContainer(stage, pod, { image, command: ['true'] }))).exitCode,
    0,
  );
  await removePod(stage, pod);
});
