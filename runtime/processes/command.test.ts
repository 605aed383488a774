import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { startKernelWorker } from '../../base/kernel/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { programStarter, startReactor } from '../../base/reactor/index.ts';
import { runCommand } from './command.ts';

// An idle reactor does not keep the process alive, so the test does.
const hold = setInterval(() => undefined, 1_000);
const [reactor, kernel] = await Promise.all([startReactor(), startKernelWorker()]);
after(async () => {
  await Promise.all([reactor.close(), kernel.close()]);
  clearInterval(hold);
});
const start = programStarter(reactor, kernel);

test('a command that exceeds its time limit is killed and reported', async () => {
  await assert.rejects(runCommand(start, '/bin/sleep', ['600'], { timeoutMs: 100 }), {
    code: 'RUNTIME_COMMAND_TIMEOUT',
    kind: 'deadline',
  });
});

test('a command that ended in time succeeds, even if a busy thread notices it later', async () => {
  // The thread blocks from before the end until after the limit, and first notices that its timer is due.
  const standstill = setTimeout(
    () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000),
    200,
  );
  const reported = await runCommand(start, '/bin/sh', ['-c', 'sleep 0.5; echo done; exit 3'], {
    timeoutMs: 1_500,
  });
  clearTimeout(standstill);
  assert.deepEqual(reported, { exitCode: 3, stdout: 'done\n', stderr: '' });
});

test('a command that cannot start because no descriptors are left leaves no descriptor open', async () => {
  await runCommand(start, '/bin/true', []);
  const descriptors = holdDescriptors();
  try {
    // Two pipes need four descriptors. If the second pipe fails, the first must be closed again.
    for (const count of [0, 1, 2, 3]) {
      descriptors.fill();
      descriptors.free(count);
      await assert.rejects(runCommand(start, '/bin/true', []));
      await settled();
      assert.equal(descriptors.room(), count, `of ${count} descriptors`);
    }
  } finally {
    descriptors.release();
  }
  assert.equal((await runCommand(start, '/bin/true', [])).exitCode, 0);
});

/** A socket closes its descriptor one turn of the event loop after it was destroyed. */
const settled = () => pause(50);

test('a command that cannot be started is named with its last arguments', async () => {
  for (const args of [[], ['--version'], ['--root', '/run', 'state', 'id']])
    await assert.rejects(runCommand(start, '/none/crun', args), {
      message: new RegExp(`^run ${['/none/crun', ...args.slice(-2)].join(' ')}: no such file`, 'u'),
    });
});
