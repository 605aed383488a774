import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { processesWithArgument } from '../../runtime/processes/processes.ts';
import { createContainer, execute, podConfig, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { readShimRecord } from '../../runtime/shim/shim-record.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';
import { findTool } from '../fixtures/tools.ts';

/**
 * Deadline of requests that must not wait for a hung runtime, which never answers. The time is for busy
 * machines.
 */
const soonMs = 100_000;
const shim = findTool('containerd-shim-runc-v2');

describe('an OCI runtime that does not finish', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-hung-runtime-'));
  const [hangs, waits] = [join(folder, 'hangs'), join(folder, 'waits')];
  // runc, because a creation by crun may have begun before it is requested.
  const script = [
    '#!/bin/sh',
    'for argument; do id=$argument; done',
    // A creation that hangs when the runtime has written its state.
    `case "$(cat ${hangs} 2>/dev/null) $* " in "created "*" create "*) /usr/sbin/runc "$@";; esac`,
    `while grep -q created ${hangs} 2>/dev/null; do case " $* " in`,
    `  *" create "*) echo "$id" > ${waits}; sleep 0.1;; *) break;;`,
    `esac; done`,
    `while [ -e ${hangs} ]; do case " $* " in`,
    `  *" $(cat ${hangs}) "*) echo "$id" > ${waits}; sleep 0.1;; *) break;;`,
    `esac; done`,
    'exec /usr/sbin/runc "$@"',
  ];
  let stage: Stage;
  let image = '';
  before(async () => {
    const [config, path] = [join(folder, 'config.yaml'), join(folder, 'runc')];
    writeFileSync(path, `${script.join('\n')}\n`, { mode: 0o755 });
    const stopped = join(folder, 'containerd-shim-runc-stopped');
    const start = `case " $* " in *" start "*) pkill -STOP -f -- "-namespace portcullis -id $8 -address";; esac`;
    writeFileSync(stopped, `#!/bin/sh\n${shim.path} "$@" || exit\n${start}\n`, { mode: 0o755 });
    const runtimes = {
      crun: { path: '/usr/bin/crun' },
      hanging: { path },
      ...(shim.skip === false && {
        shim: { type: 'shim', path: shim.path, runtimePath: path },
        stopped: { type: 'shim', path: stopped, runtimePath: path },
      }),
    };
    writeFileSync(config, JSON.stringify({ runtimes }));
    stage = await openStage({ flags: ['--config', config] });
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  // Also after a failure, so that the next test does not hang.
  afterEach(() => {
    for (const file of [hangs, waits]) rmSync(file, { force: true });
  });
  after(async () => {
    await stage.close();
    rmSync(folder, { recursive: true });
  });

  for (const [call, handler] of [
    ['stopPodSandbox', 'hanging'],
    ['removePodSandbox', 'hanging'],
    ['stopPodSandbox', 'shim'],
  ] as const)
    it(
      `does not delay ${call}, which ends the creations of the pod (${handler})`,
      {
        skip: handler === 'shim' && shim.skip,
      },
      async () => {
        const pod = await runPod(stage, `${call.toLowerCase()}-${handler}`, {}, handler);
        const runs = await runContainer(stage, pod, { name: 'runs', image, command: ['sleep', '600'] });
        writeFileSync(hangs, 'create');
        const creations = ['first', 'second'].map((name) =>
          failureOf(createContainer(stage, pod, { name, image, command: ['sleep', '600'] })),
        );
        while (!existsSync(waits)) await pause(20);
        assert.equal((await execute(stage, runs, 'true')).exitCode, 0);

        await stage.daemon.cri.runtime[call]({ podSandboxId: pod.id }, { timeoutMs: soonMs });
        for (const failure of await Promise.all(creations)) {
          assert.equal(failure.code, 'RUNTIME_SANDBOX_NOT_READY');
          assert.match(failure.message, /the sandbox is being stopped/u);
        }
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
      },
    );

  it(
    'leaves no state of its own when its creation is ended with the pod (shim)',
    { skip: shim.skip },
    async () => {
      const pod = await runPod(stage, 'created-shim', {}, 'shim');
      writeFileSync(hangs, 'created');
      const creation = failureOf(createContainer(stage, pod, { image, command: ['sleep', '600'] }));
      while (!existsSync(waits)) await pause(20);
      const { runtime } = stage.daemon.cri;
      await runtime.removePodSandbox({ podSandboxId: pod.id }, { timeoutMs: soonMs });
      assert.equal((await creation).code, 'RUNTIME_SANDBOX_NOT_READY');
      assert.deepEqual(readdirSync(join(stage.folders.state, 'oci/shim/portcullis')), []);
    },
  );

  for (const [act, call, reason, handler] of [
    ['start', 'stopContainer', 'StartError', 'hanging'],
    ['start', 'removeContainer', undefined, 'hanging'],
    ['update', 'stopContainer', 'Error', 'hanging'],
    ['update', 'removeContainer', undefined, 'hanging'],
    ['start', 'stopContainer', 'StartError', 'shim'],
  ] as const)
    it(
      `does not delay ${call} when it hangs in ${act} (${handler})`,
      { skip: handler === 'shim' && shim.skip },
      async () => {
        const pod = await runPod(stage, `${act}-${call.toLowerCase()}-${handler}`, {}, handler);
        const containerId = await createContainer(stage, pod, { image, command: ['sleep', '600'] });
        const { runtime } = stage.daemon.cri;
        if (act === 'update') await runtime.startContainer({ containerId });
        writeFileSync(hangs, act);
        const hung = failureOf(
          act === 'start'
            ? runtime.startContainer({ containerId })
            : runtime.updateContainerResources({ containerId, linux: { cpuShares: 512 } }),
        );
        while (!existsSync(waits)) await pause(20);
        await runtime[call]({ containerId, timeout: 0 }, { timeoutMs: soonMs });
        assert.match((await hung).message, /it is being stopped/u);
        if (reason !== undefined)
          assert.equal((await runtime.containerStatus({ containerId })).status?.reason, reason);
        rmSync(hangs);
        rmSync(waits);
        await removePod(stage, pod);
        assert.deepEqual(processesWithArgument(act, [folder]), []);
      },
    );

  const stopShim = async (pod: Pod): Promise<void> => {
    const record = await readShimRecord(join(stage.folders.state, 'shims', pod.id));
    assert.ok(record?.process);
    process.kill(record.process.pid, 'SIGSTOP');
  };
  for (const [call, reason] of [
    ['stopContainer', 'Error'],
    ['stopPodSandbox', 'Error'],
    ['removePodSandbox', undefined],
  ] as const)
    it(`does not delay ${call} when the shim of a running container hangs`, { skip: shim.skip }, async () => {
      const pod = await runPod(stage, `stopped-${call.toLowerCase()}`, {}, 'shim');
      const containerId = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      await stopShim(pod);
      const { runtime } = stage.daemon.cri;
      if (call === 'stopContainer')
        await runtime.stopContainer({ containerId, timeout: 1 }, { timeoutMs: soonMs });
      else await runtime[call]({ podSandboxId: pod.id }, { timeoutMs: soonMs });
      if (reason !== undefined)
        assert.partialDeepStrictEqual((await runtime.containerStatus({ containerId })).status, {
          reason,
          exitCode: 137,
        });
      await removePod(stage, pod);
    });

  it('does not delay runPodSandbox when its shim hangs at once', { skip: shim.skip }, async () => {
    const request = { config: podConfig(stage, 'hangs-at-once'), runtimeHandler: 'stopped' };
    const failure = await failureOf(stage.daemon.cri.runtime.runPodSandbox(request, { timeoutMs: soonMs }));
    assert.match(failure.message, /no answer within/u);
    assert.deepEqual(readdirSync(join(stage.folders.state, 'shims')), []);
  });

  /** Begins a creation in a shim that was stopped. @returns the failure of the creation */
  const createInStopped = async (pod: Pod) => {
    await stopShim(pod);
    const creation = failureOf(createContainer(stage, pod, { name: 'main', image, command: ['true'] }));
    // Until the stand-in of the task runs, the shim has not been asked.
    while (processesWithArgument('portcullis-shim-task').length === 0) await pause(20);
    await pause(500);
    return { creation };
  };

  it('does not delay the stop of a pod whose shim hangs', { skip: shim.skip }, async () => {
    const pod = await runPod(stage, 'stopped-shim', {}, 'shim');
    const { creation } = await createInStopped(pod);
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id }, { timeoutMs: soonMs });
    assert.equal((await creation).code, 'RUNTIME_SANDBOX_NOT_READY');
    await removePod(stage, pod);
  });

  it('does not delay the start of the daemon, which undoes the creation', { skip: shim.skip }, async () => {
    const pod = await runPod(stage, 'stopped-shim-restart', {}, 'shim');
    const { creation } = await createInStopped(pod);
    await stage.restart({ kill: true });
    await creation;
    await stage.daemon.cri.runtime.removePodSandbox({ podSandboxId: pod.id }, { timeoutMs: 2 * soonMs });
    assert.deepEqual(readdirSync(join(stage.folders.state, 'containers')), []);
  });
});
