import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, it } from 'node:test';
import { ContainerState, PodSandboxState } from '../../runtime/client.ts';
import { createContainer, execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, mountsBelow, openStage, podNamespace } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

/** The CRI log format: time, stream, partial or full, text. */
const logLine = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S* (stdout|stderr) [FP] /;

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; !holds(); waited += 50) {
    assert.ok(waited < 60_000, `not met within a minute: ${what}`);
    await pause(50);
  }
}

describe('the life cycle of pods and containers', () => {
  let stage: Stage;
  let image = '';
  before(async () => {
    stage = await openStage();
    image = await stage.pull((await stage.publish('app/a:1')).reference);
  });
  after(() => stage.close());
  const runtime = () => stage.daemon.cri.runtime;

  it('the daemon reports its name, and that it is ready', async () => {
    const version = await runtime().version({});
    assert.equal(version.runtimeName, 'portcullis');
    assert.equal(version.runtimeApiVersion, 'v1');
    const { status, info } = await runtime().status({ verbose: true });
    assert.deepEqual(
      status?.conditions.map(({ type, status: is }) => [type, is]),
      [
        ['RuntimeReady', true],
        ['NetworkReady', true],
        ['PolicyReady', true],
      ],
    );
    for (const text of Object.values(info)) JSON.parse(text);
    assert.equal((await runtime().runtimeConfig({})).linux?.cgroupDriver, 1);
  });

  describe('lists', () => {
    const pods: Pod[] = [];
    const containers: string[] = [];
    before(async () => {
      for (const name of ['one', 'two'])
        pods.push(await runPod(stage, name, { labels: { app: name, all: 'yes' } }));
      for (const pod of pods)
        containers.push(
          await createContainer(stage, pod, {
            image,
            name: 'c',
            more: { labels: { in: pod.config.metadata?.name ?? '' }, annotations: { note: 'ä' } },
          }),
        );
      await runtime().startContainer({ containerId: containers[1] ?? '' });
      await runtime().stopPodSandbox({ podSandboxId: pods[0]?.id ?? '' });
    });
    after(async () => {
      for (const pod of pods) await removePod(stage, pod);
    });
    const podsOf = async (filter: object) =>
      (await runtime().listPodSandbox({ filter })).items.map(({ metadata }) => metadata?.name).sort();
    const containersOf = async (filter: object) =>
      (await runtime().listContainers({ filter })).containers.map(({ id }) => id);

    it('return pods by state, label, id and prefix', async () => {
      const [one, two] = pods;
      assert.deepEqual(await podsOf({}), ['one', 'two']);
      assert.deepEqual(await podsOf({ state: { state: PodSandboxState.SANDBOX_READY } }), ['two']);
      assert.deepEqual(await podsOf({ state: { state: PodSandboxState.SANDBOX_NOTREADY } }), ['one']);
      assert.deepEqual(await podsOf({ labelSelector: { app: 'one' } }), ['one']);
      assert.deepEqual(await podsOf({ labelSelector: { app: 'one', all: 'no' } }), []);
      assert.deepEqual(await podsOf({ id: one?.id }), ['one']);
      assert.deepEqual(await podsOf({ id: two?.id.slice(0, 13) }), ['two']);
      assert.deepEqual(await podsOf({ id: 'ffffffffffff' }), []);
    });

    it('return containers by state, label, pod, id and prefix', async () => {
      const [first, second] = containers;
      assert.deepEqual((await containersOf({})).sort(), [...containers].sort());
      assert.deepEqual(await containersOf({ state: { state: ContainerState.CONTAINER_RUNNING } }), [second]);
      assert.deepEqual(await containersOf({ state: { state: ContainerState.CONTAINER_EXITED } }), [first]);
      assert.deepEqual(await containersOf({ labelSelector: { in: 'two' } }), [second]);
      assert.deepEqual(await containersOf({ podSandboxId: pods[0]?.id }), [first]);
      assert.deepEqual(await containersOf({ podSandboxId: pods[0]?.id.slice(0, 10) }), [first]);
      assert.deepEqual(await containersOf({ id: second?.slice(0, 13) }), [second]);
      assert.deepEqual(await containersOf({ id: second, podSandboxId: pods[0]?.id }), []);
    });

    it('return annotations, pod id and image reference', async () => {
      const {
        containers: [found],
      } = await runtime().listContainers({ filter: { id: containers[1] ?? '' } });
      assert.deepEqual(found?.annotations, { note: 'ä' });
      assert.equal(found?.podSandboxId, pods[1]?.id);
      assert.match(found?.imageRef ?? '', /@sha256:/);
    });

    it('the status of a pod contains the statuses of its containers at one moment', async () => {
      const before = BigInt(Date.now()) * 1_000_000n;
      const answer = await runtime().podSandboxStatus({ podSandboxId: pods[1]?.id ?? '' });
      assert.deepEqual(
        answer.containersStatuses.map(({ id, state }) => [id, state]),
        [[containers[1], ContainerState.CONTAINER_RUNNING]],
      );
      const { status } = await runtime().containerStatus({ containerId: containers[1] ?? '' });
      assert.deepEqual(answer.containersStatuses[0], status);
      assert.ok(answer.timestamp >= before && answer.timestamp <= BigInt(Date.now() + 1) * 1_000_000n);
    });

    it('verbose statuses are JSON', async () => {
      const pod = await runtime().podSandboxStatus({ podSandboxId: pods[1]?.id ?? '', verbose: true });
      const container = await runtime().containerStatus({ containerId: containers[1] ?? '', verbose: true });
      const found = await stage.daemon.cri.image.imageStatus({ image: { image }, verbose: true });
      for (const { info } of [pod, container, found]) {
        assert.ok(Object.keys(info).length > 0);
        for (const text of Object.values(info)) assert.equal(typeof JSON.parse(text), 'object');
      }
      assert.ok((JSON.parse(container.info['info'] ?? '') as { pid: number }).pid > 1);
      assert.match((JSON.parse(container.info['info'] ?? '') as { verdictId: string }).verdictId, /^sha256:/);
      assert.match(pod.status?.network?.ip ?? '', /^10\.211\.0\.\d+$/);
    });

    it('verbose statuses have the entries that tools read from containerd and CRI-O', async () => {
      const pod = await runtime().podSandboxStatus({ podSandboxId: pods[1]?.id ?? '', verbose: true });
      const container = await runtime().containerStatus({ containerId: containers[1] ?? '', verbose: true });
      interface Shown {
        readonly sandboxID?: string;
        readonly runtimeSpec: { linux: { namespaces: { type: string; path?: string }[] } };
      }
      const [ofPod, ofContainer] = [pod, container].map(
        ({ info }) => JSON.parse(info['info'] ?? '') as Shown,
      );
      assert.equal(ofContainer?.sandboxID, pods[1]?.id);
      const networkOf = (shown: Shown | undefined): string =>
        shown?.runtimeSpec.linux.namespaces.find(({ type }) => type === 'network')?.path ?? '';
      assert.ok(existsSync(networkOf(ofPod)), 'the network namespace of the pod');
      assert.equal(networkOf(ofContainer), networkOf(ofPod));
    });
  });

  it('a pull for a runtime handler that is not configured is rejected', async () => {
    const { reference } = await stage.publish('app/handled:1');
    const pull = (runtimeHandler: string) =>
      stage.daemon.cri.image.pullImage({
        image: { image: reference, runtimeHandler },
        sandboxConfig: { metadata: { name: 'p', namespace: podNamespace, uid: 'u', attempt: 0 } },
      });
    const failure = await failureOf(pull('nonsuch'));
    assert.deepEqual([failure.code, failure.kind], ['RUNTIME_UNKNOWN_HANDLER', 'invalid']);
    await pull('crun');
  });

  it('exit codes are correct, with a reason and ordered timestamps', async () => {
    const pod = await runPod(stage, 'exits');
    const cases: [string, readonly string[], number, string][] = [
      ['zero', ['true'], 0, 'Completed'],
      ['three', ['sh', '-c', 'exit 3'], 3, 'Error'],
      ['killed', ['sh', '-c', 'kill -9 $$; sleep 1; (exec sleep 600) & kill -9 $!; wait $!'], 137, 'Error'],
    ];
    for (const [name, command, code, reason] of cases) {
      const id = await runContainer(stage, pod, { name, image, command });
      const status = await exitOf(stage, id);
      assert.equal(status.exitCode, code, name);
      assert.equal(status.reason, reason);
      assert.ok(status.createdAt <= status.startedAt && status.startedAt <= status.finishedAt, name);
      assert.ok(status.finishedAt > 0n);
    }
    await removePod(stage, pod);
  });

  it('a stop sends the stop signal, and SIGKILL after the grace period, or at once without a grace period', async () => {
    const pod = await runPod(stage, 'stops');
    const heeds = ['sh', '-c', 'trap "exit 143" TERM; echo ready; while :; do sleep 0.05; done'];
    const deaf = ['sh', '-c', 'trap "" TERM; echo ready; while :; do sleep 0.05; done'];
    const cases: [string, readonly string[], number, number][] = [
      ['heeds', heeds, 60, 143],
      ['deaf', deaf, 1, 137],
      ['at-once', heeds, 0, 137],
    ];
    for (const [name, command, timeout, code] of cases) {
      const containerId = await runContainer(stage, pod, { name, image, command });
      // Its trap is set.
      await until(
        `${name} is ready`,
        () => readFileSync(join(stage.logs, `stops/${name}/0.log`), 'utf8') !== '',
      );
      await runtime().stopContainer({ containerId, timeout });
      assert.equal((await exitOf(stage, containerId)).exitCode, code, name);
      // Repeated, and for an unknown id: success.
      await runtime().stopContainer({ containerId, timeout: 0 });
    }
    await runtime().stopContainer({ containerId: 'f'.repeat(64), timeout: 0 });
    await removePod(stage, pod);
  });

  it('a stop sends the stop signal of the image', async () => {
    const { reference } = await stage.publish('app/signal:1', { config: { StopSignal: 'SIGUSR1' } });
    const pod = await runPod(stage, 'signal');
    const command = ['sh', '-c', 'trap "exit 7" USR1; while :; do sleep 0.05; done'];
    const containerId = await runContainer(stage, pod, { image: await stage.pull(reference), command });
    await runtime().stopContainer({ containerId, timeout: 10 });
    assert.equal((await exitOf(stage, containerId)).exitCode, 7);
    await removePod(stage, pod);
  });

  it('a stop whose client leaves before the grace period ends does not kill', async () => {
    const pod = await runPod(stage, 'cancelled');
    const image = await stage.pull((await stage.publish('app/cancelled:1', {})).reference);
    const command = ['sh', '-c', 'trap "echo asked" TERM; while :; do sleep 0.05; done'];
    const containerId = await runContainer(stage, pod, { image, command });
    const state = async (): Promise<number | undefined> =>
      (await runtime().containerStatus({ containerId })).status?.state;
    const left = runtime().stopContainer({ containerId, timeout: 1 }, { signal: AbortSignal.timeout(300) });
    await assert.rejects(left, { code: 'CRI_CANCELLED' });
    const running = await state();
    await pause(1_500);
    assert.equal(await state(), running);
    await runtime().stopContainer({ containerId, timeout: 0 });
    assert.equal((await exitOf(stage, containerId)).exitCode, 137);
    await removePod(stage, pod);
  });

  it('a stop reaches a first process that waits for signals without a handler', async () => {
    const pod = await runPod(stage, 'waits');
    // Like tini and systemd, init of busybox blocks signals and waits for them. It then restarts its PID
    // namespace, which ends with SIGHUP: reboot(2).
    const containerId = await runContainer(stage, pod, {
      image,
      command: ['init'],
      security: { capabilities: { addCapabilities: ['SYS_BOOT'] } },
    });
    await runtime().stopContainer({ containerId, timeout: 60 });
    assert.equal((await exitOf(stage, containerId)).exitCode, 129);
    await removePod(stage, pod);
  });

  it('reports OOMKilled', async () => {
    const pod = await runPod(stage, 'oom');
    const id = await runContainer(stage, pod, {
      image,
      command: ['sh', '-c', 'exec tail /dev/zero'],
      resources: { memoryLimitInBytes: 20 * 2 ** 20, memorySwapLimitInBytes: 20 * 2 ** 20 },
    });
    const status = await exitOf(stage, id);
    assert.equal(status.reason, 'OOMKilled');
    assert.equal(status.exitCode, 137);
    await removePod(stage, pod);
  });

  it('reports OOMKilled also for a container that lost a child and ended with 0', async () => {
    const pod = await runPod(stage, 'oom-child');
    const id = await runContainer(stage, pod, {
      image,
      command: ['sh', '-c', 'tail /dev/zero; exit 0'],
      resources: { memoryLimitInBytes: 20 * 2 ** 20, memorySwapLimitInBytes: 20 * 2 ** 20 },
    });
    const { reason, exitCode } = await exitOf(stage, id);
    assert.deepEqual([reason, exitCode], ['OOMKilled', 0]);
    await removePod(stage, pod);
  });

  it('changes the memory limit of a running container', async () => {
    const pod = await runPod(stage, 'update');
    const containerId = await runContainer(stage, pod, {
      image,
      resources: { memoryLimitInBytes: 64 * 2 ** 20 },
    });
    const limit = (): number => {
      const name = `${stage.cgroupParent}/${containerId}`;
      const places = [
        `/sys/fs/cgroup/memory${name}/memory.limit_in_bytes`,
        `/sys/fs/cgroup${name}/memory.max`,
      ];
      return Number(
        readFileSync(places.find((path) => existsSync(path)) ?? assert.fail('no memory cgroup'), 'utf8'),
      );
    };
    assert.equal(limit(), 64 * 2 ** 20);
    await runtime().updateContainerResources({ containerId, linux: { memoryLimitInBytes: 96 * 2 ** 20 } });
    assert.equal(limit(), 96 * 2 ** 20);
    const { status } = await runtime().containerStatus({ containerId });
    assert.equal(status?.resources?.linux?.memoryLimitInBytes, 96 * 2 ** 20);
    await removePod(stage, pod);
  });

  it('a container writes both streams to its log in the CRI format, and into a new file after a rename', async () => {
    const pod = await runPod(stage, 'logs');
    const containerId = await runContainer(stage, pod, {
      image,
      command: [
        'sh',
        '-c',
        'echo out; echo err >&2; printf "no end"; while :; do echo more; sleep 0.05; done',
      ],
    });
    const file = join(stage.logs, 'logs/main/0.log');
    assert.equal((await runtime().containerStatus({ containerId })).status?.logPath, file);
    await until('the first lines are in the log', () =>
      [/ stdout F out$/m, / stderr F err$/m].every((line) => line.test(readFileSync(file, 'utf8'))),
    );
    // The last line may have been read before it was complete.
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
    for (const line of lines) assert.match(line, logLine);
    renameSync(file, `${file}.old`);
    await runtime().reopenContainerLog({ containerId });
    assert.ok(existsSync(file));
    await until('the new file grows', () => / stdout F more\n/.test(readFileSync(file, 'utf8')));
    const old = readFileSync(`${file}.old`, 'utf8');
    await pause(150);
    assert.equal(readFileSync(`${file}.old`, 'utf8'), old, 'the old file no longer grows');
    await runtime().stopContainer({ containerId, timeout: 0 });
    assert.equal(
      (await failureOf(runtime().reopenContainerLog({ containerId }))).code,
      'RUNTIME_CONTAINER_WRONG_STATE',
    );
    await removePod(stage, pod);
  });

  describe('ExecSync', () => {
    let pod: Pod;
    let containerId = '';
    before(async () => {
      pod = await runPod(stage, 'exec');
      containerId = await runContainer(stage, pod, { image });
    });
    after(() => removePod(stage, pod));

    it('returns the exit code and both streams', async () => {
      assert.deepEqual(await execute(stage, containerId, 'sh', '-c', 'echo out; echo err >&2; exit 5'), {
        exitCode: 5,
        stdout: 'out\n',
        stderr: 'err\n',
      });
    });

    it('preserves bytes that are not text', async () => {
      const { stdout } = await runtime().execSync({
        containerId,
        cmd: ['printf', '\\377\\000\\1'],
        timeout: 5,
      });
      assert.deepEqual([...stdout], [255, 0, 1]);
    });

    it('a timeout ends the command and is reported as an exceeded deadline', async () => {
      const began = performance.now();
      const failure = await failureOf(runtime().execSync({ containerId, cmd: ['sleep', '77'], timeout: 1 }));
      assert.equal(failure.kind, 'deadline');
      assert.equal(failure.code, 'RUNTIME_EXEC_TIMEOUT');
      assert.ok(performance.now() - began < 60_000);
      assert.doesNotMatch((await execute(stage, containerId, 'ps')).stdout, /sleep 77/);
    });

    it('a grandchild that holds the output open does not delay the answer', async () => {
      const began = performance.now();
      const { exitCode, stdout } = await execute(stage, containerId, 'sh', '-c', 'sleep 600 & echo done');
      assert.equal(exitCode, 0);
      assert.equal(stdout, 'done\n');
      assert.ok(performance.now() - began < 60_000);
    });

    it('output beyond 16 MiB is not kept: the command still ends, and the call fails', async () => {
      for (const command of ['yes | head -c 20000000', 'yes | tee /dev/stderr | head -c 20000000']) {
        const cmd = ['sh', '-c', `${command}; echo ended >/tmp/large; exit 3`];
        const failure = await failureOf(runtime().execSync({ containerId, cmd, timeout: 30 }));
        assert.deepEqual([failure.code, failure.kind], ['RUNTIME_EXEC_OUTPUT_TOO_LARGE', 'exhausted']);
        assert.match(failure.message, /ended with exit code 3, but its output exceeds the 16 MiB/u);
        assert.equal((await execute(stage, containerId, 'cat', '/tmp/large')).stdout, 'ended\n');
        await execute(stage, containerId, 'rm', '/tmp/large');
      }
    });

    it('output up to 15 MiB is complete', async () => {
      const cmd = ['sh', '-c', 'yes | head -c 15728640'];
      const { stdout, exitCode } = await runtime().execSync({ containerId, cmd, timeout: 30 });
      assert.deepEqual([stdout.length, exitCode], [15 * 2 ** 20, 0]);
    });

    it('a command whose output exceeds that of all commands together fails, and gives back what it took', async () => {
      const large = 12 * 2 ** 20;
      const print = (name: number) => {
        const wait = 'until [ -e /tmp/go ]; do sleep 0.1; done';
        const cmd = ['sh', '-c', `yes | head -c ${large}; echo >/tmp/printed-${name}; ${wait}`];
        return runtime().execSync({ containerId, cmd, timeout: 60 });
      };
      const calls = Promise.allSettled(Array.from({ length: 8 }, (_, name) => print(name)));
      const all = 'until [ -e /tmp/printed-7 ] && [ $(ls /tmp/printed-* | wc -l) = 8 ]; do sleep 0.1; done';
      assert.equal((await execute(stage, containerId, 'sh', '-c', `${all}; echo >/tmp/go`)).exitCode, 0);
      const results = await calls;
      const failed = results.flatMap((call) => (call.status === 'rejected' ? [String(call.reason)] : []));
      assert.ok(failed.length > 0 && failed.length < 8, `${failed.length} failed`);
      for (const message of failed) assert.match(message, /RUNTIME_EXEC_OUTPUT_TOO_LARGE/u);
      for (const call of results)
        if (call.status === 'fulfilled') assert.equal(call.value.stdout.length, large);
      assert.equal((await print(8)).stdout.length, large);
    });

    it('reports a missing program, a missing command and a missing container', async () => {
      const missing = await runtime()
        .execSync({ containerId, cmd: ['/no/such'], timeout: 5 })
        .then(
          ({ exitCode, stderr }) => `${exitCode} ${Buffer.from(stderr).toString()}`,
          (thrown: unknown) => String(thrown),
        );
      assert.match(missing, /no such/i);
      assert.doesNotMatch(missing, /^0 /);
      assert.equal(
        (await failureOf(runtime().execSync({ containerId, cmd: [] }))).code,
        'RUNTIME_BAD_REQUEST',
      );
      assert.equal(
        (await failureOf(runtime().execSync({ containerId: 'f'.repeat(64), cmd: ['true'] }))).code,
        'RUNTIME_CONTAINER_NOT_FOUND',
      );
    });

    it('refuses a container that was not started, or that has ended', async () => {
      const id = await createContainer(stage, pod, { name: 'other', image, command: ['true'] });
      assert.equal(
        (await failureOf(runtime().execSync({ containerId: id, cmd: ['true'] }))).code,
        'RUNTIME_CONTAINER_WRONG_STATE',
      );
      await runtime().startContainer({ containerId: id });
      await exitOf(stage, id);
      assert.equal(
        (await failureOf(runtime().execSync({ containerId: id, cmd: ['true'] }))).code,
        'RUNTIME_CONTAINER_WRONG_STATE',
      );
      // A second start is refused after the first one was answered.
      assert.equal(
        (await failureOf(runtime().startContainer({ containerId: id }))).code,
        'RUNTIME_CONTAINER_WRONG_STATE',
      );
    });

    it('runs as the user, in the folder and with the variables of the container', async () => {
      const id = await runContainer(stage, pod, {
        name: 'user',
        image,
        security: { runAsUser: { value: 1000 }, supplementalGroups: [7] },
        more: { workingDir: '/www', envs: [{ key: 'COLOUR', value: Buffer.from('blue') }] },
      });
      const { stdout } = await execute(stage, id, 'sh', '-c', 'id -u; id -G; pwd; echo $COLOUR $HOME');
      assert.equal(stdout, '1000\n1000 7\n/www\nblue /www\n');
      const { info } = await runtime().containerStatus({ containerId: id, verbose: true });
      const { config } = JSON.parse(info['info'] ?? '') as { config: { envs: unknown } };
      assert.deepEqual(config.envs, [{ key: 'COLOUR', value: 'blue' }], 'the verbose status shows text');
    });
  });

  it('removes a running container, and a pod with all its containers; unknown ids are success', async () => {
    const pod = await runPod(stage, 'removal');
    const first = await runContainer(stage, pod, { name: 'first', image });
    const second = await runContainer(stage, pod, { name: 'second', image });
    const third = await createContainer(stage, pod, { name: 'third', image });
    await runtime().removeContainer({ containerId: first });
    assert.equal(
      (await failureOf(runtime().containerStatus({ containerId: first }))).code,
      'RUNTIME_CONTAINER_NOT_FOUND',
    );
    await runtime().removeContainer({ containerId: first });
    await runtime().stopPodSandbox({ podSandboxId: pod.id });
    await runtime().stopPodSandbox({ podSandboxId: pod.id });
    assert.equal(
      (await runtime().podSandboxStatus({ podSandboxId: pod.id })).status?.state,
      PodSandboxState.SANDBOX_NOTREADY,
    );
    assert.equal((await runtime().containerStatus({ containerId: second })).status?.exitCode, 137);
    await runtime().removePodSandbox({ podSandboxId: pod.id });
    await runtime().removePodSandbox({ podSandboxId: pod.id });
    for (const containerId of [second, third])
      assert.equal(
        (await failureOf(runtime().containerStatus({ containerId }))).code,
        'RUNTIME_CONTAINER_NOT_FOUND',
      );
    assert.equal(
      (await failureOf(runtime().podSandboxStatus({ podSandboxId: pod.id }))).code,
      'RUNTIME_SANDBOX_NOT_FOUND',
    );
    await runtime().stopPodSandbox({ podSandboxId: pod.id });
    assert.equal(
      (await failureOf(runtime().startContainer({ containerId: 'f'.repeat(64) }))).code,
      'RUNTIME_CONTAINER_NOT_FOUND',
    );
    const left = mountsBelow(stage.folders.folder).filter((path) =>
      [pod.id, first, second, third].some((id) => path.includes(id)),
    );
    assert.deepEqual(left, []);
  });

  it('every request accepts a unique prefix of an id', async () => {
    const pod = await runPod(stage, 'short');
    const id = await runContainer(stage, pod, { image });
    const containerId = id.slice(0, 13);
    assert.equal((await runtime().containerStatus({ containerId })).status?.id, id);
    assert.equal((await runtime().execSync({ containerId, cmd: ['true'] })).exitCode, 0);
    await runtime().stopContainer({ containerId, timeout: 0 });
    await runtime().removeContainer({ containerId });
    await runtime().stopPodSandbox({ podSandboxId: pod.id.slice(0, 13) });
    await runtime().removePodSandbox({ podSandboxId: pod.id.slice(0, 13) });
    assert.equal(
      (await failureOf(runtime().podSandboxStatus({ podSandboxId: pod.id }))).code,
      'RUNTIME_SANDBOX_NOT_FOUND',
    );
  });

  it('volumes: read-only, writable, and a missing host folder', async () => {
    const pod = await runPod(stage, 'volumes');
    const host = join(stage.folders.folder, 'volume');
    const id = await runContainer(stage, pod, {
      image,
      more: {
        mounts: [
          { containerPath: '/data', hostPath: host },
          { containerPath: '/fixed', hostPath: stage.folders.policy, readonly: true },
        ],
      },
    });
    assert.equal(
      (await execute(stage, id, 'sh', '-c', 'echo kept > /data/file; cat /fixed/k.pub')).exitCode,
      0,
    );
    assert.equal(readFileSync(join(host, 'file'), 'utf8'), 'kept\n');
    assert.match((await execute(stage, id, 'touch', '/fixed/x')).stderr, /Read-only/);
    await removePod(stage, pod);
    assert.ok(existsSync(join(host, 'file')));
  });
});
