import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Detaches from session, parent and environment in every way that a shell offers. */
const escapes = [
  'sleep 71 &',
  'setsid sleep 72 &',
  '(setsid sh -c "sleep 73 & exec sleep 74" &)',
  'env -i setsid nohup sleep 75 >/dev/null 2>&1 &',
  '(trap "" TERM HUP INT; setsid sleep 76 & exec sleep 77) &',
];

for (const runtimeHandler of ['crun', 'runc'])
  describe(`ExecSync with ${runtimeHandler}`, () => {
    let stage: Stage;
    let pod: Pod;
    let containerId = '';
    before(async () => {
      stage = await openStage();
      const image = await stage.pull((await stage.publish('app/a:1')).reference);
      pod = await runPod(stage, 'exec', {}, runtimeHandler);
      containerId = await runContainer(stage, pod, {
        image,
        command: ['sh', '-c', 'setsid sleep 700 & exec sleep 600'],
      });
    });
    after(() => stage.close());
    const runtime = () => stage.daemon.cri.runtime;
    const sleeping = async (): Promise<string[]> =>
      (await execute(stage, containerId, 'ps', '-o', 'args')).stdout
        .split('\n')
        .filter((line) => line.startsWith('sleep'))
        .sort();
    const own = ['sleep 600', 'sleep 700'];
    const files = () =>
      readdirSync(join(stage.folders.state, 'containers', containerId)).filter((name) =>
        name.startsWith('exec-'),
      );

    it('a timeout kills all processes that the command started, and no other process of the container', async () => {
      const command = `${escapes.join('\n')}\nsleep 78`;
      const failure = await failureOf(
        runtime().execSync({ containerId, cmd: ['sh', '-c', command], timeout: 1 }),
      );
      assert.equal(failure.code, 'RUNTIME_EXEC_TIMEOUT');
      assert.deepEqual(await sleeping(), own);
      assert.deepEqual(files(), []);
    });

    it('a timeout ends a command that continuously starts new processes', async () => {
      const command = 'while :; do setsid sleep 79 & sleep 0.01; done';
      const failure = await failureOf(
        runtime().execSync({ containerId, cmd: ['sh', '-c', command], timeout: 1 }),
      );
      assert.equal(failure.code, 'RUNTIME_EXEC_TIMEOUT');
      assert.deepEqual(await sleeping(), own);
    });

    it('a cancelled call kills the command too', async () => {
      const call = runtime().execSync(
        { containerId, cmd: ['sh', '-c', 'setsid sleep 80 & sleep 81'] },
        { timeoutMs: 600 },
      );
      await assert.rejects(call);
      for (let waited = 0; waited < 60_000 && (await sleeping()).length > own.length; waited += 50)
        await pause(50);
      assert.deepEqual(await sleeping(), own);
    });

    it('processes that a command leaves running stay, and do not delay the answer', async () => {
      const { stdout } = await execute(stage, containerId, 'sh', '-c', 'sleep 82 & echo done');
      assert.equal(stdout, 'done\n');
      assert.deepEqual(await sleeping(), [...own, 'sleep 82'].sort());
      await execute(
        stage,
        containerId,
        'sh',
        '-c',
        'cd /proc; for p in [0-9]*; do grep -qa "^sleep.82" $p/cmdline && kill -9 $p; done',
      );
      for (let waited = 0; waited < 60_000 && (await sleeping()).length > own.length; waited += 50)
        await pause(50);
      assert.deepEqual(await sleeping(), own);
    });

    it('a missing program is reported as an error, not as an exit code', async () => {
      const failure = await failureOf(runtime().execSync({ containerId, cmd: ['/no/such'], timeout: 5 }));
      assert.deepEqual([failure.code, failure.kind], ['RUNTIME_EXEC_REFUSED', 'precondition']);
      assert.match(failure.message, /no\/such/);
    });

    it('a container whose bundle has been removed is reported as such', async () => {
      const config = join(stage.folders.state, 'containers', containerId, 'config.json');
      renameSync(config, `${config}.away`);
      try {
        const failure = await failureOf(execute(stage, containerId, 'true'));
        assert.equal(failure.code, 'RUNTIME_EXEC_REFUSED');
        assert.match(failure.message, /the container has been removed/u);
      } finally {
        renameSync(`${config}.away`, config);
      }
    });

    it('a daemon that was killed during the command ends the command at its next start', async () => {
      const cut = runtime().execSync({
        containerId,
        cmd: ['sh', '-c', 'setsid sleep 83 & sleep 84'],
        timeout: 600,
      });
      const cutOff = assert.rejects(cut);
      while ((await sleeping()).length < own.length + 2) await pause(50);
      await stage.restart({ kill: true });
      await cutOff;
      assert.deepEqual(await sleeping(), own);
      assert.deepEqual(files(), []);
    });

    it('leaves no cgroup behind', () => {
      const unified = '/sys/fs/cgroup/unified/portcullis-exec';
      const left = existsSync(unified)
        ? readdirSync(unified).filter((name) => name.startsWith(containerId))
        : [];
      assert.deepEqual(left, []);
      assert.doesNotMatch(readFileSync('/proc/self/mountinfo', 'utf8'), /state\/exec /);
    });

    it('shuts down cleanly', () => removePod(stage, pod));
  });
