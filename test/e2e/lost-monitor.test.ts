import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { portcullis } from '../fixtures/command.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const address = '127.0.0.1:19466';

describe('a monitor (conmon) that is killed under a running container', () => {
  let stage: Stage;
  let image = '';
  let config = '';
  before(async () => {
    stage = await openStage();
    config = join(stage.folders.folder, 'config.yaml');
    writeFileSync(config, `metrics: { address: "${address}" }\n`);
    await stage.restart({ flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());

  const statusOf = async (containerId: string) => {
    const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
    const { pid, monitorPid } = JSON.parse(info['info'] ?? '{}') as { pid: number; monitorPid: number };
    return { pid, monitorPid, monitor: info['monitor'] };
  };
  const untilLost = async (containerId: string): Promise<void> => {
    for (let waited = 0; (await statusOf(containerId)).monitor !== '"lost"'; waited += 50) {
      assert.ok(waited < 10_000, 'the loss of the monitor is not reported');
      await pause(50);
    }
  };
  const gauge = async (): Promise<string | undefined> =>
    /^portcullis_containers_unmonitored (\d+)$/m.exec(await (await fetch(`http://${address}/metrics`)).text())?.[1];

  for (const restart of [false, true])
    it(`is reported at once${restart ? ', and again after the daemon was killed' : ''}; no wrong exit code is reported`, async () => {
      const pod = await runPod(stage, `unmonitored-${restart}`);
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      const other = await runContainer(stage, pod, { name: 'other', image, command: ['sleep', '600'] });
      const { pid, monitorPid, monitor } = await statusOf(id);
      assert.equal(monitor, undefined);
      assert.equal(await gauge(), '0');
      process.kill(monitorPid, 'SIGKILL');
      await untilLost(id);
      assert.match(stage.daemon.log(), /the monitor of a running container has ended/);
      if (restart) {
        await stage.restart({ kill: true, flags: ['--config', config] });
        await untilLost(id);
      }
      assert.equal((await statusOf(other)).monitor, undefined);
      assert.equal(await gauge(), '1');
      const { output } = await portcullis(['doctor', '--config', doctorConfig()]);
      assert.match(output, new RegExp(`monitors.*1 lost[^]*${id.slice(0, 13)}`));
      assert.equal((await execute(stage, id, 'hostname')).stdout, `unmonitored-${restart}\n`, 'the container goes on');
      process.kill(pid, 'SIGKILL');
      const { exitCode, reason } = await exitOf(stage, id);
      assert.equal(reason, 'MonitorLost');
      // The kernel reports the code from Linux 6.15 on.
      assert.ok(exitCode === 137 || exitCode === 255, String(exitCode));
      assert.equal((await statusOf(id)).monitor, undefined);
      assert.equal(await gauge(), '0');
      await removePod(stage, pod);
    });

  function doctorConfig(): string {
    const file = join(stage.folders.folder, 'doctor.yaml');
    writeFileSync(file, `socket: ${stage.folders.socket}\nroot: ${stage.folders.root}\nstate: ${stage.folders.state}\n`);
    return file;
  }
});
