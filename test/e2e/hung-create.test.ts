import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { processesWithArgument } from '../../runtime/processes/processes.ts';
import { createContainer, execute, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** Far below the time that a runtime may take for a creation. */
const soonMs = 60_000;

describe('an OCI runtime that does not finish the creation of a container', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-hung-create-'));
  const [hangs, waits] = [join(folder, 'hangs'), join(folder, 'waits')];
  // runc, because a creation by crun may have begun before it is requested.
  const script = [
    '#!/bin/sh',
    'for argument; do id=$argument; done',
    `case " $* " in *" create "*) while [ -e ${hangs} ]; do echo "$id" > ${waits}; sleep 0.1; done;; esac`,
    'exec /usr/sbin/runc "$@"',
  ];
  let stage: Stage;
  let image = '';
  before(async () => {
    const [config, path] = [join(folder, 'config.yaml'), join(folder, 'runc')];
    writeFileSync(path, `${script.join('\n')}\n`, { mode: 0o755 });
    writeFileSync(config, `runtimes:\n  crun: { path: /usr/bin/crun }\n  hanging: { path: ${path} }\n`);
    stage = await openStage({ flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  for (const call of ['stopPodSandbox', 'removePodSandbox'] as const)
    it(`does not delay ${call}, which ends the creations of the pod`, async () => {
      const pod = await runPod(stage, call.toLowerCase(), {}, 'hanging');
      const runs = await runContainer(stage, pod, { name: 'runs', image, command: ['sleep', '600'] });
      writeFileSync(hangs, '');
      const creations = ['first', 'second'].map((name) =>
        failureOf(createContainer(stage, pod, { name, image, command: ['sleep', '600'] })),
      );
      while (!existsSync(waits)) await pause(20);
      assert.equal((await execute(stage, runs, 'true')).exitCode, 0);

      const asked = performance.now();
      await stage.daemon.cri.runtime[call]({ podSandboxId: pod.id }, { timeoutMs: soonMs });
      for (const failure of await Promise.all(creations)) {
        assert.equal(failure.code, 'RUNTIME_SANDBOX_NOT_READY');
        assert.match(failure.message, /the sandbox is being stopped/u);
      }
      assert.ok(performance.now() - asked < soonMs);
      const { containers } = await stage.daemon.cri.runtime.listContainers({});
      assert.deepEqual(
        containers.map(({ id }) => id),
        call === 'stopPodSandbox' ? [runs] : [],
      );

      rmSync(hangs);
      rmSync(waits);
      await removePod(stage, pod);
      assert.deepEqual(processesWithArgument('create', [folder]), []);
      assert.deepEqual(readdirSync(join(stage.folders.state, 'containers')), []);
    });
});
