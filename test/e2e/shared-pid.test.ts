import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { processIdentity, sameProcess } from '../../base/process/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import { PodSandboxState } from '../../runtime/client.ts';
import {
  createContainer,
  execute,
  exitOf,
  namespaceOptions,
  removePod,
  runContainer,
  runPod,
} from '../fixtures/pod.ts';
import type { ContainerAsk, Pod } from '../fixtures/pod.ts';
import { failureOf, openStage, policyOf, registryName } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const policy = policyOf(
  ['baseline', 'privileged']
    .map(
      (ceiling) =>
        `  - images: ["${registryName}/${ceiling}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: ${ceiling} }\n`,
    )
    .join(''),
);

/** CRI NamespaceMode. */
const [POD, CONTAINER, NODE, TARGET] = [0, 1, 2, 3] as const;
const pid = (mode: 0 | 1 | 2 | 3, targetId = '') => ({
  namespaceOptions: { ...namespaceOptions, pid: mode, targetId },
});
const sharing = { linux: { securityContext: pid(POD) } };
const command = ['sleep', '600'];

/** One PID namespace for several containers. A process with no other purpose holds it. */
describe('a shared PID namespace', () => {
  let stage: Stage;
  let image = '';
  let privileged = '';
  before(async () => {
    stage = await openStage({ policy });
    image = await stage.pull((await stage.publish('baseline/a:1')).reference);
    privileged = await stage.pull((await stage.publish('privileged/a:1')).reference);
  });
  after(() => stage.close());

  const run = (
    pod: Pod,
    name: string,
    mode: 0 | 1 | 2 | 3 = POD,
    ask: Partial<ContainerAsk> = {},
  ): Promise<string> => runContainer(stage, pod, { name, image, command, security: pid(mode), ...ask });
  const out = async (id: string, ...cmd: string[]): Promise<string> =>
    (await execute(stage, id, ...cmd)).stdout;
  const commandLinesSeenBy = async (id: string, files: string): Promise<string> => {
    for (;;) {
      const seen = await out(id, 'sh', '-c', `cat ${files} | tr "\\0" " "`);
      // A container that was started a moment ago may not have executed its program yet.
      if (!seen.includes(' create --bundle ')) return seen;
    }
  };
  const processesSeenBy = (id: string): Promise<string> => commandLinesSeenBy(id, '/proc/[0-9]*/cmdline');
  const infraOf = async (pod: Pod): Promise<ProcessIdentity> => {
    const { info } = await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id, verbose: true });
    const reported = (JSON.parse(info['info'] ?? '{}') as { pid: number }).pid;
    const identity = processIdentity(reported);
    assert.ok(identity, `process ${reported} exists`);
    return identity;
  };
  const stateOf = async (pod: Pod): Promise<PodSandboxState | undefined> =>
    (await stage.daemon.cri.runtime.podSandboxStatus({ podSandboxId: pod.id })).status?.state;
  const untilNotReady = async (pod: Pod): Promise<void> => {
    for (let waited = 0; (await stateOf(pod)) === PodSandboxState.SANDBOX_READY; waited += 20) {
      assert.ok(waited < 60_000, 'the pod becomes not ready');
      await pause(20);
    }
  };

  for (const handler of ['crun', 'runc']) {
    describe(`under ${handler}`, () => {
      let pod: Pod;
      let first = '';
      let second = '';
      before(async () => {
        pod = await runPod(stage, `shared-${handler}`, sharing, handler);
        first = await run(pod, 'first', POD, { command: ['sleep', '611'] });
        second = await run(pod, 'second', POD, { command: ['sleep', '622'] });
      });
      after(() => removePod(stage, pod));

      it('the containers see each other, and no container is process 1', async () => {
        const seen = await processesSeenBy(first);
        assert.match(seen, /sleep 611/);
        assert.match(seen, /sleep 622/);
        assert.equal(await out(second, 'cat', '/proc/1/cmdline'), '/pause\0');
      });

      it('process 1 has no capability, a filter, no_new_privs, no open file and its own empty root', async () => {
        const { pid: host } = await infraOf(pod);
        const status = readFileSync(`/proc/${host}/status`, 'utf8');
        const field = (name: string): string =>
          new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
        for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
          assert.equal(BigInt(`0x${field(set)}`), 0n, set);
        assert.deepEqual([field('Seccomp'), field('NoNewPrivs'), field('Uid')], ['2', '1', '65535']);
        assert.deepEqual(readdirSync(`/proc/${host}/fd`), []);
        for (const inside of ['/proc/1/root/', '/proc/1/exe', '/proc/1/environ', '/proc/1/mem']) {
          const { exitCode, stderr } = await execute(
            stage,
            first,
            'sh',
            '-c',
            `ls ${inside} && cat ${inside}`,
          );
          assert.notEqual(exitCode, 0, `not even root of the pod can read ${inside}`);
          assert.match(stderr, /denied/, inside);
        }
        for (const type of ['net', 'ipc', 'uts', 'pid'])
          assert.equal(
            readlinkSync(`/proc/${host}/ns/${type}`),
            (await out(first, 'readlink', `/proc/self/ns/${type}`)).trim(),
            `it is in the pod's ${type} namespace`,
          );
      });

      it('orphans are reaped', async () => {
        await execute(stage, first, 'sh', '-c', 'for i in 1 2 3 4 5; do (sleep 0.05 &) ; done');
        const running = (): Promise<string> =>
          out(
            first,
            'sh',
            '-c',
            'ps | grep -c "[s]leep 0.05"; grep -l "^State:.Z" /proc/[0-9]*/status | wc -l',
          );
        for (let waited = 0; (await running()) !== '0\n0\n'; waited += 50) {
          assert.ok(waited < 60_000, `running and zombies: ${await running()}`);
          await pause(50);
        }
      });

      it('nothing in the pod can end process 1', async () => {
        await execute(stage, first, 'kill', '-9', '1');
        await execute(stage, first, 'kill', '-TERM', '1');
        assert.equal(await stateOf(pod), PodSandboxState.SANDBOX_READY);
        assert.ok(sameProcess(await infraOf(pod)));
      });

      it('when one container ends, the other continues and nothing of the first remains', async () => {
        const id = await run(pod, 'leaver', POD, {
          command: ['sh', '-c', 'trap "exit 3" TERM; setsid sleep 633 & sleep 600 & touch /ready; wait'],
        });
        // It is not process 1 of its namespace and gets the signal at once, so its handler must be installed.
        while ((await execute(stage, id, 'test', '-e', '/ready')).exitCode !== 0) await pause(20);
        await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 10 });
        assert.equal((await exitOf(stage, id)).exitCode, 3);
        const seen = await processesSeenBy(first);
        assert.doesNotMatch(seen, /sleep 633/, 'its grandchild is gone');
        assert.match(seen, /sleep 622/);
      });

      it('the stop signal ends a process without a handler for it, because the process is not process 1 of its namespace', async () => {
        const id = await run(pod, 'deaf');
        const begin = performance.now();
        await stage.daemon.cri.runtime.stopContainer({ containerId: id, timeout: 30 });
        assert.ok(performance.now() - begin < 20_000);
        assert.equal((await exitOf(stage, id)).exitCode, 143);
      });

      it('a container of the same pod may have its own PID namespace', async () => {
        const id = await run(pod, 'alone', CONTAINER);
        assert.equal(await commandLinesSeenBy(id, '/proc/1/cmdline'), 'sleep 600 ');
      });

      it('an ephemeral container joins the PID namespace of its target', async () => {
        const target = await run(pod, 'target', CONTAINER, { command: ['sleep', '644'] });
        const debug = await run(pod, 'debug', TARGET, { security: pid(TARGET, target) });
        assert.match(await processesSeenBy(debug), /sleep 644.*sleep 600/s);
        assert.doesNotMatch(await processesSeenBy(debug), /sleep 611/);
        await stage.daemon.cri.runtime.stopContainer({ containerId: target, timeout: 0 });
        assert.equal((await exitOf(stage, debug)).exitCode, 137, 'it ends with its target');
      });
    });
  }

  it('if the pod requested nothing, the first container that asks to share creates the namespace of the pod', async () => {
    const pod = await runPod(stage, 'unsaid');
    const first = await run(pod, 'first', POD, { command: ['sleep', '611'] });
    const second = await run(pod, 'second');
    assert.match(await processesSeenBy(second), /\/pause.*sleep 611/s);
    const infra = await infraOf(pod);
    await stage.restart({ kill: true });
    assert.equal((await infraOf(pod)).startTime, infra.startTime);
    assert.match(await processesSeenBy(first), /sleep 600/);
    await removePod(stage, pod);
    assert.ok(!sameProcess(infra));
  });

  it('in a pod with a user namespace, the PID namespace belongs to that user namespace', async (context) => {
    const { runtimeHandlers } = await stage.daemon.cri.runtime.status({});
    if (!runtimeHandlers.some(({ name, features }) => name === '' && features?.userNamespaces === true))
      return context.skip('the default runtime handler has no user namespaces here');
    const range = { hostId: 1_000_000, containerId: 0, length: 65_536 };
    const options = {
      ...namespaceOptions,
      pid: POD,
      usernsOptions: { mode: 0 as const, uids: [range], gids: [range] },
    };
    const pod = await runPod(stage, 'mapped', { linux: { securityContext: { namespaceOptions: options } } });
    const id = await run(pod, 'main', POD, { security: { namespaceOptions: options } });
    assert.match(await processesSeenBy(id), /\/pause.*sleep 600/s);
    const { pid: host } = await infraOf(pod);
    assert.equal(
      readlinkSync(`/proc/${host}/ns/user`),
      (await out(id, 'readlink', '/proc/self/ns/user')).trim(),
    );
    assert.match(readFileSync(`/proc/${host}/status`, 'utf8'), /^Uid:\s+1065535/m);
    await removePod(stage, pod);
  });

  it('a daemon that was killed finds process 1 again, and continues to watch it', async () => {
    const pod = await runPod(stage, 'survivor', sharing);
    const id = await run(pod, 'main');
    const infra = await infraOf(pod);
    await stage.restart({ kill: true });
    assert.equal(await stateOf(pod), PodSandboxState.SANDBOX_READY);
    assert.ok(sameProcess(infra));
    assert.equal(await out(id, 'cat', '/proc/1/cmdline'), '/pause\0');
    process.kill(infra.pid, 'SIGKILL');
    await untilNotReady(pod);
    assert.equal((await exitOf(stage, id)).exitCode, 137);
    await removePod(stage, pod);
  });

  it('when process 1 ends, the containers end, and the pod is not ready', async () => {
    const pod = await runPod(stage, 'orphaned', sharing);
    const [first, second] = [await run(pod, 'first'), await run(pod, 'second')];
    process.kill((await infraOf(pod)).pid, 'SIGKILL');
    await untilNotReady(pod);
    for (const id of [first, second]) assert.equal((await exitOf(stage, id)).exitCode, 137);
    const { kind } = await failureOf(
      createContainer(stage, pod, { name: 'late', image, security: pid(POD) }),
    );
    assert.equal(kind, 'precondition');
    await stage.daemon.cri.runtime.stopPodSandbox({ podSandboxId: pod.id });
    await removePod(stage, pod);
  });

  it('when process 1 ended while no daemon ran, the pod is not ready at the next start', async () => {
    const pod = await runPod(stage, 'lost', sharing);
    const id = await run(pod, 'main');
    const infra = await infraOf(pod);
    await stage.restart({
      kill: true,
      meanwhile: async () => {
        process.kill(infra.pid, 'SIGKILL');
        while (sameProcess(infra)) await pause(5);
      },
    });
    assert.notEqual(await stateOf(pod), PodSandboxState.SANDBOX_READY);
    assert.equal((await exitOf(stage, id)).exitCode, 137);
    await removePod(stage, pod);
  });

  it('a target must be a running container of the same pod', async () => {
    const [pod, other] = [await runPod(stage, 'here'), await runPod(stage, 'there')];
    const elsewhere = await run(other, 'main', CONTAINER);
    const waiting = await createContainer(stage, pod, { name: 'waiting', image, command });
    for (const [targetId, kind] of [
      ['', 'invalid'],
      ['0'.repeat(64), 'invalid'],
      [elsewhere, 'precondition'],
      [waiting, 'precondition'],
    ] as const) {
      const failure = await failureOf(
        createContainer(stage, pod, { name: 'debug', image, security: pid(TARGET, targetId) }),
      );
      assert.equal(failure.code, 'RUNTIME_BAD_TARGET');
      assert.ok(['invalid', kind].includes(failure.kind));
    }
    await removePod(stage, pod);
    await removePod(stage, other);
  });

  it('no container reaches processes of the host through a target unless its own ceiling allows it', async () => {
    const pod = await runPod(stage, 'host', { linux: { securityContext: pid(NODE) } });
    const target = await run(pod, 'target', NODE, { image: privileged });
    const { code, message } = await failureOf(
      createContainer(stage, pod, { name: 'debug', image, security: pid(TARGET, target) }),
    );
    assert.equal(code, 'ENTITLEMENTS_CEILING_EXCEEDED');
    assert.match(message, /ceiling baseline lacks .*pid/);
    const debug = await run(pod, 'debug', TARGET, { image: privileged, security: pid(TARGET, target) });
    assert.equal(
      (await out(debug, 'readlink', '/proc/self/ns/pid')).trim(),
      readlinkSync('/proc/self/ns/pid'),
    );
    await removePod(stage, pod);
  });

  it('only a pod that requests the host PID namespace gets it', async () => {
    const pod = await runPod(stage, 'plain');
    const { code } = await failureOf(createContainer(stage, pod, { image: privileged, security: pid(NODE) }));
    assert.equal(code, 'RUNTIME_BAD_NAMESPACE');
    await removePod(stage, pod);
  });
});
