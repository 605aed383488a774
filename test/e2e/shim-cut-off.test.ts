import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createContainer, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import { openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

const [shim, runc] = [findTool('containerd-shim-runc-v2'), findTool('runc')];
const skip = shim.skip === false ? runc.skip : shim.skip;

interface CutOff {
  readonly stage: Stage;
  /** While it exists, the runtime does not report a container that it has created. */
  readonly slow: string;
  readonly created: string;
  /** The containers and pods of which the runtime has a state. */
  readonly states: () => string[];
}
async function openCutOff(t: TestContext): Promise<CutOff> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-cut-off-'));
  const inside = (name: string): string => join(folder, name);
  const [slow, created] = [inside('slow'), inside('created')];
  const program = `#!/bin/sh
case "$*" in
  *' create '*) ;;
  *) exec ${runc.path} "$@" ;;
esac
${runc.path} "$@" || exit
[ ! -e ${slow} ] || echo >${created}
while [ -e ${slow} ]; do sleep 0.1; done
`;
  writeFileSync(inside('runc'), program);
  chmodSync(inside('runc'), 0o755);
  const runtimes = { shim: { path: shim.path, type: 'shim', runtimePath: inside('runc') } };
  writeFileSync(inside('config.yaml'), JSON.stringify({ runtimes, defaultRuntime: 'shim' }));
  const stage = await openStage({ flags: ['--config', inside('config.yaml')] });
  t.after(async () => {
    rmSync(slow, { force: true });
    await stage.close();
    rmSync(folder, { recursive: true });
  });
  const states = (): string[] => readdirSync(join(stage.folders.state, 'oci/shim/portcullis'));
  return { stage, slow, created, states };
}

it(
  'a container that a shim creates when the daemon is killed leaves no state of the OCI runtime',
  { skip, timeout: 200_000 },
  async (t) => {
    const { stage, slow, created, states } = await openCutOff(t);
    const image = await stage.pull((await stage.publish('app/a:1')).reference);
    const pod = await runPod(stage, 'cut-off');
    assert.deepEqual(states(), [pod.id]);
    writeFileSync(slow, '');
    const ask = { image, command: ['sleep', '600'] };
    const cut = assert.rejects(createContainer(stage, pod, ask));
    while (!existsSync(created)) await pause(20);
    await stage.restart({ kill: true });
    await cut;
    rmSync(slow);
    // This waits until the removal of the other container with this name has ended.
    const id = await runContainer(stage, pod, ask);
    assert.deepEqual(states().sort(), [pod.id, id].sort());
    await removePod(stage, pod);
    assert.deepEqual(states(), []);
  },
);

it(
  'a pod that a shim creates when the daemon is killed leaves no state of the OCI runtime',
  { skip, timeout: 200_000 },
  async (t) => {
    const { stage, slow, created, states } = await openCutOff(t);
    writeFileSync(slow, '');
    const cut = assert.rejects(runPod(stage, 'cut-off'));
    while (!existsSync(created)) await pause(20);
    const [id] = states();
    await stage.restart({ kill: true });
    await cut;
    rmSync(slow);
    const pod = await runPod(stage, 'cut-off');
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: id ?? '' });
    assert.deepEqual(states(), [pod.id]);
    await removePod(stage, pod);
    assert.deepEqual(states(), []);
  },
);
