import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { portcullis } from '../fixtures/command.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const address = '127.0.0.1:19466';

describe('a monitor (conmon)', () => {
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
      assert.ok(waited < 60_000, 'the loss of the monitor is not reported');
      await pause(50);
    }
  };
  const gauge = async (): Promise<string | undefined> =>
    /^portcullis_containers_unmonitored (\d+)$/m.exec(
      await (await fetch(`http://${address}/metrics`)).text(),
    )?.[1];

  for (const restart of [false, true])
    it(`that is killed under a running container is reported at once${restart ? ', and again after the daemon was killed' : ''}; no wrong exit code is reported`, async () => {
      const pod = await runPod(stage, `unmonitored-${restart}`);
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      const other = await runContainer(stage, pod, { name: 'other', image, command: ['sleep', '600'] });
      const { pid, monitorPid, monitor } = await statusOf(id);
      assert.equal(monitor, undefined);
      assert.equal(await gauge(), '0');
      process.kill(monitorPid, 'SIGKILL');
      await untilLost(id);
      await stage.daemon.logged(/the monitor of a running container has ended/);
      if (restart) {
        await stage.restart({ kill: true, flags: ['--config', config] });
        await untilLost(id);
      }
      assert.equal((await statusOf(other)).monitor, undefined);
      assert.equal(await gauge(), '1');
      const { output } = await portcullis(['doctor', '--config', doctorConfig()]);
      assert.match(output, new RegExp(`monitors.*1 lost[^]*${id.slice(0, 13)}`));
      assert.equal(
        (await execute(stage, id, 'hostname')).stdout,
        `unmonitored-${restart}\n`,
        'the container continues',
      );
      process.kill(pid, 'SIGKILL');
      const { exitCode, reason } = await exitOf(stage, id);
      assert.equal(reason, 'MonitorLost');
      // The kernel reports the code from Linux 6.15 on.
      assert.ok(exitCode === 137 || exitCode === 255, String(exitCode));
      assert.equal((await statusOf(id)).monitor, undefined);
      assert.equal(await gauge(), '0');
      await removePod(stage, pod);
    });

  it('that is stopped (SIGSTOP) when its container ends makes the daemon wait; then the exit code is unknown, and nothing is left', async () => {
    const pod = await runPod(stage, 'stopped-monitor');
    const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
    const { pid, monitorPid } = await statusOf(id);
    process.kill(monitorPid, 'SIGSTOP');
    process.kill(pid, 'SIGKILL');
    // The daemon waits 5 s for the monitor, and 10 s for the kernel's own record of the exit.
    const { exitCode, reason, message } = await exitOf(stage, id).catch(() => exitOf(stage, id));
    assert.deepEqual([exitCode, reason], [255, 'MonitorLost']);
    assert.match(message, /does not respond; exit code 255 means that the exit code is unknown/);
    await removePod(stage, pod);
    for (const process of [pid, monitorPid]) assert.ok(!runs(process), `process ${process} is left`);
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(id), 'a mount is left');
    assert.deepEqual(cgroupsOf(id), []);
    assert.ok(!existsSync(join(stage.folders.state, 'containers', id)), 'its bundle is left');
  });

  it('that is stopped (SIGSTOP) does not prevent StopContainer or StopPodSandbox from ending its container', async () => {
    const pod = await runPod(stage, 'stopped-monitors');
    const [one, other] = [
      await runContainer(stage, pod, { name: 'one', image, command: ['sleep', '600'] }),
      await runContainer(stage, pod, { name: 'other', image, command: ['sleep', '600'] }),
    ];
    const monitors = [];
    for (const id of [one, other]) monitors.push(await statusOf(id));
    for (const { monitorPid } of monitors) process.kill(monitorPid, 'SIGSTOP');
    await stage.daemon.cri.runtime.stopContainer({ containerId: one, timeout: 1 }, { timeoutMs: 40_000 });
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id }, { timeoutMs: 60_000 });
    await removePod(stage, pod);
    for (const { pid, monitorPid } of monitors)
      for (const process of [pid, monitorPid]) assert.ok(!runs(process), `process ${process} is left`);
  });

  /** A process that has ended counts as gone, also while process 1 has not reaped it. */
  function runs(pid: number): boolean {
    try {
      return !/^State:\s*[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
    } catch {
      return false;
    }
  }

  /** Returns the cgroups whose path names the container. */
  function cgroupsOf(id: string): string[] {
    return execFileSync('find', ['/sys/fs/cgroup', '-type', 'd', '-name', `*${id}*`], { encoding: 'utf8' })
      .split('\n')
      .filter(Boolean);
  }

  function doctorConfig(): string {
    const file = join(stage.folders.folder, 'doctor.yaml');
    writeFileSync(
      file,
      `socket: ${stage.folders.socket}\nroot: ${stage.folders.root}\nstate: ${stage.folders.state}\n`,
    );
    return file;
  }
});
