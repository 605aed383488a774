import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { createFaultControl } from './faults/orders.ts';
import type { FaultControl } from './faults/orders.ts';

/** A thread ends when it gets its last message: the stop fails, but still performs every other step. */
describe('a daemon that loses a thread while it stops', () => {
  let folder = '';
  let control: FaultControl;
  let stage: Stage;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-lost-at-stop-'));
    control = createFaultControl(folder);
    const environment = Object.entries(control.environment).map(([name, value]) => `${name}=${value}`);
    const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
    stage = await openStage({ program: ['env', ...environment, launcher] });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  // For five seconds after the start, one Worker serves all calls of the kernel.
  for (const [thread, code, seconds] of [
    ['network.worker', 4, 0],
    ['kernel-first.worker', 0, 0],
    ['kernel-namespaces.worker', 0, 6],
  ] as const)
    it(
      `${thread}: the stop ends with ${code}, is orderly, and leaves no namespace`,
      { timeout: 60_000 },
      async () => {
        await pause(seconds * 1000);
        await stage.pull((await stage.publish(`app/${thread}:1`)).reference);
        // On a slow machine, the pull may last longer than the first Worker serves calls. A stop right after
        // a restart finds it.
        for (let hasFired = false; !hasFired;) {
          control.give({
            mode: 'fault',
            fault: { thread, point: 'message', nth: 1, kind: 'end', error: '', delayMs: 0 },
          });
          const ended = await stage.daemon.stop();
          hasFired = control.hasFired();
          control.give({ mode: 'off' });
          const lastRun = JSON.parse(
            readFileSync(join(stage.folders.root, 'images/last-run.json'), 'utf8'),
          ) as object;
          const mounted = readFileSync('/proc/self/mountinfo', 'utf8')
            .split('\n')
            .filter((line) => line.includes(`${stage.folders.state}/ns/`));
          assert.deepEqual([ended, mounted], [hasFired ? code : 0, []]);
          assert.partialDeepStrictEqual(lastRun, { clean: true, unchecked: [] });
          assert.ok(hasFired || thread === 'kernel-first.worker');
          await stage.restart({ kill: true });
        }
      },
    );
});
