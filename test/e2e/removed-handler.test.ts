import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ContainerState } from '../../runtime/client.ts';
import { processesWithArgument } from '../../runtime/processes/processes.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

describe('a runtime handler that is removed from the configuration while it has containers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-removed-handler-'));
  const config = join(folder, 'config.yaml');
  const crun = 'crun: { path: /usr/bin/crun }';
  let stage: Stage;
  before(async () => {
    writeFileSync(config, `runtimes:\n  ${crun}\n  other: { path: /usr/bin/crun }\n`);
    stage = await openStage({ flags: ['--config', config] });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  const runtime = () => stage.daemon.cri.runtime;

  it('refuses what needs the handler, and its containers still end and are removed', async () => {
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'kept', {}, 'other');
    const command = ['sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.1; done'];
    const runs = await runContainer(stage, pod, { name: 'runs', image, command });
    const waits = await createContainer(stage, pod, { name: 'waits', image, command: ['sleep', '600'] });
    writeFileSync(config, `runtimes:\n  ${crun}\n`);
    await stage.restart();

    const start = await failureOf(runtime().startContainer({ containerId: waits }));
    assert.equal(start.code, 'RUNTIME_UNKNOWN_HANDLER');
    assert.partialDeepStrictEqual(await exitOf(stage, waits), { exitCode: 128, reason: 'StartError' });
    assert.equal((await failureOf(execute(stage, runs, 'true'))).code, 'RUNTIME_UNKNOWN_HANDLER');
    const create = createContainer(stage, pod, { name: 'new', image });
    assert.equal((await failureOf(create)).code, 'RUNTIME_UNKNOWN_HANDLER');
    const { status } = await runtime().containerStatus({ containerId: runs });
    assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);

    await runtime().stopContainer({ containerId: runs, timeout: 30 });
    assert.equal((await exitOf(stage, runs)).exitCode, 7);
    await removePod(stage, pod);
    for (const id of [runs, waits]) assert.deepEqual(processesWithArgument(id), []);
  });
});
