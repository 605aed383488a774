import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { execute, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { openCommand } from '../fixtures/stream-client.ts';

/**
 * OOM score, priority (field 19 of stat), CPUs, limits, and the cgroups of a process without those that the
 * daemon uses for itself.
 */
const attributes = (process: string): string =>
  [
    `cat /proc/${process}/oom_score_adj`,
    `cut -d' ' -f19 /proc/${process}/stat`,
    `grep -E '_allowed_list|NoNewPrivs|Seccomp' /proc/${process}/status`,
    `cat /proc/${process}/limits`,
    `grep -vE '^0:|name=portcullis' /proc/${process}/cgroup`,
  ].join('; ');

for (const runtimeHandler of ['crun', 'runc'])
  describe(`attributes that a command inherits from its container with ${runtimeHandler}`, () => {
    let stage: Stage;
    let containerId = '';
    let first = '';
    before(async () => {
      stage = await openStage();
      const image = await stage.pull((await stage.publish('app/a:1')).reference);
      const pod = await runPod(stage, 'exec', {}, runtimeHandler);
      const resources = {
        oomScoreAdj: 321,
        cpuShares: 128,
        memoryLimitInBytes: 64 * 1024 * 1024,
        cpusetCpus: '0',
      };
      containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'], resources });
      first = (await execute(stage, containerId, 'sh', '-c', attributes('1'))).stdout;
      assert.match(first, /^321\n/);
    });
    after(() => stage.close());

    it('ExecSync applies the OOM score, priority, processors, limits and cgroups', async () => {
      assert.equal((await execute(stage, containerId, 'sh', '-c', attributes('self'))).stdout, first);
    });

    for (const tty of [false, true])
      it(`Exec ${tty ? 'with' : 'without'} a terminal applies the same attributes`, async () => {
        const streams = { stdin: false, stdout: true, stderr: !tty, tty };
        const cmd = ['sh', '-c', attributes('self')];
        const client = await openCommand(
          (await stage.daemon.cri.runtime.exec({ containerId, cmd, ...streams })).url,
        );
        assert.equal((await client.status).status, 'Success');
        assert.equal(client.stdout().replaceAll('\r', ''), first);
      });
  });
