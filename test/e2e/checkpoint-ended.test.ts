/**
 * The end of checkpoints that hang. criu does not work on every kernel, so a program in place of it and of
 * runc's `checkpoint` hangs. runc freezes and thaws the containers.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { patience } from '../fixtures/daemon.ts';
import { execute, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const runc = findTool('runc');

describe('checkpoints that hang', { skip: runc.skip }, () => {
  let stage: Stage;
  let folder = '';
  let image = '';
  let pod: Pod;
  const path = process.env['PATH'];
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'pc-checkpoint-ended-'));
    mkdirSync(join(folder, 'archives'), { mode: 0o700 });
    const program = join(folder, 'runc');
    writeFileSync(join(folder, 'criu'), '#!/bin/sh\n', { mode: 0o755 });
    writeFileSync(
      program,
      `#!/bin/sh\n[ "$3" != checkpoint ] || { : > ${folder}/begun; kill -STOP $$; }\nexec ${runc.path} "$@"\n`,
      { mode: 0o755 },
    );
    process.env['PATH'] = `${folder}:${path}`;
    const config = join(folder, 'config.yaml');
    const checkpoint = {
      enabled: true,
      folders: [join(folder, 'archives')],
      keepFree: '1Mi',
      timeout: 3_600,
    };
    writeFileSync(
      config,
      JSON.stringify({ runtimes: { runc: { path: program } }, defaultRuntime: 'runc', checkpoint }),
    );
    stage = await openStage({ flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
    pod = await runPod(stage, 'hanging', {}, 'runc');
  });
  after(async () => {
    process.env['PATH'] = path;
    await stage.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const run = (name: string): Promise<string> =>
    runContainer(stage, pod, { name, image, command: ['sleep', '3600'] });
  /** Begins a checkpoint, and waits until the container is frozen. */
  const begin = async (containerId: string): Promise<{ failed: ReturnType<typeof failureOf> }> => {
    rmSync(join(folder, 'begun'), { force: true });
    const request = { containerId, location: join(folder, 'archives/a.tar'), timeout: 0 };
    const failed = failureOf(
      stage.daemon.cri.runtime.checkpointContainer(request, { timeoutMs: 2 * patience }),
    );
    failed.catch(() => undefined);
    while (!existsSync(join(folder, 'begun'))) await pause(20);
    return { failed };
  };
  const expectNothingLeft = (): void => {
    assert.deepEqual(readdirSync(join(stage.folders.root, 'checkpoints')), []);
    assert.deepEqual(readdirSync(join(folder, 'archives')), []);
    const lines = readdirSync('/proc').map((name) => {
      try {
        return /^\d+$/.test(name) ? readFileSync(`/proc/${name}/cmdline`, 'utf8') : '';
      } catch {
        return '';
      }
    });
    assert.deepEqual(
      lines.filter((line) => line.includes(join(stage.folders.root, 'checkpoints'))),
      [],
    );
  };

  it('end when the container is removed', async () => {
    const id = await run('removed');
    const { failed } = await begin(id);
    await stage.daemon.cri.runtime.removeContainer({ containerId: id }, { timeoutMs: patience });
    assert.match((await failed).message, /is being stopped or removed/);
    expectNothingLeft();
  });

  it('are the reason why a command cannot run in the container meanwhile', async () => {
    const id = await run('asked');
    const { failed } = await begin(id);
    const refused = await failureOf(execute(stage, id, 'true'));
    assert.equal(refused.code, 'RUNTIME_EXEC_REFUSED');
    assert.match(refused.message, /frozen, as it is while its checkpoint is written/);
    await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 0 }, { timeoutMs: patience });
    await failed;
  });

  it('end with the daemon, and the container continues', async () => {
    const id = await run('stopped');
    const { failed } = await begin(id);
    await stage.restart();
    await failed;
    expectNothingLeft();
    assert.equal((await execute(stage, id, 'echo', 'runs')).stdout, 'runs\n');
  });

  it('are undone after a daemon that was killed, and the container continues', async () => {
    const id = await run('killed');
    const { failed } = await begin(id);
    await stage.restart({ kill: true });
    await failed;
    expectNothingLeft();
    assert.equal((await execute(stage, id, 'echo', 'runs')).stdout, 'runs\n');
  });
});
