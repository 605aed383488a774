/**
 * Tests the cgroup driver systemd on a machine where systemd is process 1: `vm/run vm/under-systemd node
 * --test test/vm/systemd.ts`. The file is not called x.test.ts, because `npm test` has no such machine.
 */
import '../fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { ContainerState, createCriClient } from '../../runtime/client.ts';
import { accepts } from '../fixtures/accepts.ts';
import { execute, exitOf, removePod, runContainer, runPod } from '../fixtures/pod.ts';
import type { Pod } from '../fixtures/pod.ts';
import { failureOf, openStage } from '../fixtures/stage.ts';
import type { Stage } from '../fixtures/stage.ts';

const tree = '/sys/fs/cgroup';
const MiB = 2 ** 20;

function systemctl(...args: string[]): string {
  return spawnSync('systemctl', args, { encoding: 'utf8' }).stdout.trim();
}
const property = (unit: string, name: string): string => systemctl('show', '--value', '-p', name, unit);
const isActive = (unit: string): boolean => systemctl('is-active', unit) === 'active';
const scopeOf = (id: string): string => `portcullis-${id}.scope`;
/** Returns our units that systemd still knows, in any state. */
const ours = (): string[] =>
  systemctl('list-units', '--all', '--plain', '--no-legend', 'portcullis*')
    .split('\n')
    .map((line) => line.split(' ')[0] ?? '')
    .filter((unit) => unit.endsWith('.scope') || unit.endsWith('.slice'));
/** Whether the machine has only version 2, or version 1 with or without version 2 (`vm/run -g`). */
const isV2 = existsSync(join(tree, 'cgroup.controllers'));
const cgroupOf = (pid: number | string): string =>
  (isV2 ? /^0::(.*)$/m : /^\d+:memory:(.*)$/m).exec(readFileSync(`/proc/${pid}/cgroup`, 'utf8'))?.[1] ?? '';
/** The cpu controller alone or together with cpuacct. systemd creates empty folders of both names. */
const cpu = isV2
  ? ''
  : (['cpu,cpuacct', 'cpu'].find((name) => existsSync(join(tree, name, 'cgroup.procs'))) ?? 'cpu');
/** Returns the memory limit in bytes, and CPU quota and period in microseconds, from the kernel. */
function limitsOf(path: string): string[] {
  const read = (controller: string, name: string): string =>
    readFileSync(join(tree, isV2 ? '' : controller, path, name), 'utf8').trim();
  return isV2
    ? [read('', 'memory.max'), ...read('', 'cpu.max').split(' ')]
    : [
        read('memory', 'memory.limit_in_bytes'),
        read(cpu, 'cpu.cfs_quota_us'),
        read(cpu, 'cpu.cfs_period_us'),
      ];
}
/** In any hierarchy, including those that systemd does not use (freezer, cpuset …). */
const exists = (path: string): boolean =>
  ['', ...(isV2 ? [] : readdirSync(tree))].some((root) => existsSync(join(tree, root, path)));

async function eventually(what: string, holds: () => boolean): Promise<void> {
  for (let waited = 0; waited < 10_000; waited += 100) {
    if (holds()) return;
    await pause(100);
  }
  assert.fail(what);
}

async function pidOf(stage: Stage, containerId: string): Promise<number> {
  const { info } = await stage.daemon.cri.runtime.containerStatus({ containerId, verbose: true });
  return (JSON.parse(info['info'] ?? '{}') as { pid: number }).pid;
}

for (const handler of ['crun', 'runc'])
  describe(`systemd as cgroup driver of ${handler}`, () => {
    let stage: Stage;
    let image = '';
    const slice = `kubepods-burstable-pod${handler}_1.slice`;
    const parent = `/kubepods.slice/kubepods-burstable.slice/${slice}`;
    before(async () => {
      stage = await openStage({ cgroupDriver: 'auto' });
      image = await stage.pull((await stage.publish('app/a:1')).reference);
      // As a kubelet does before it requests the pod.
      systemctl('start', slice);
    });
    after(async () => {
      await stage.close();
      systemctl('stop', slice);
      await eventually(`units are left: ${ours().join(', ')}`, () => ours().length === 0);
    });
    const runtime = () => stage.daemon.cri.runtime;
    const podBelow = (name: string, cgroupParent: string): Promise<Pod> =>
      runPod(stage, name, { linux: { cgroupParent } }, handler);

    it('is selected by `auto` here, and reported to a kubelet', async () => {
      assert.equal((await runtime().runtimeConfig({})).linux?.cgroupDriver, 0);
    });

    it('a kubelet’s pod: a scope in its slice with limits that survive a reload of systemd; the slice stays when the pod is removed', async () => {
      const pod = await podBelow('kubelet', parent);
      const containerId = await runContainer(stage, pod, {
        image,
        command: ['sleep', '600'],
        resources: {
          memoryLimitInBytes: 64 * MiB,
          cpuShares: 512,
          cpuQuota: 50_000,
          cpuPeriod: 100_000,
          ...(isV2 && { unified: { 'memory.oom.group': '1' } }),
        },
      });
      const path = `${parent}/${scopeOf(containerId)}`;
      // crun sets its limits in a cgroup below, which systemd does not change. runc sets them as properties
      // of the scope.
      const within = cgroupOf(await pidOf(stage, containerId));
      assert.equal(within, handler === 'crun' ? `${path}/container` : path);
      const expectLimits = (memory: number): void => {
        assert.deepEqual(limitsOf(within), [String(memory), '50000', '100000']);
        if (handler === 'runc' && isV2)
          assert.equal(property(scopeOf(containerId), 'MemoryMax'), String(memory));
      };
      expectLimits(64 * MiB);
      const kills = (): string => readFileSync(join(tree, within, 'memory.oom.group'), 'utf8').trim();
      if (isV2) assert.equal(kills(), '1');
      systemctl('daemon-reload');
      expectLimits(64 * MiB);
      // systemd resets it in the scope itself, and runc 1.1 has no way to preserve it.
      if (isV2 && handler === 'crun') assert.equal(kills(), '1');
      await runtime().updateContainerResources({ containerId, linux: { memoryLimitInBytes: 96 * MiB } });
      systemctl('daemon-reload');
      expectLimits(96 * MiB);
      // A forbidden device stays inaccessible after the reload as well.
      assert.notEqual(
        (await execute(stage, containerId, 'sh', '-c', 'mknod /tmp/mem c 1 1 && cat /tmp/mem')).exitCode,
        0,
      );
      assert.equal((await execute(stage, containerId, 'cat', '/dev/null')).exitCode, 0);
      await removePod(stage, pod);
      assert.ok(isActive(slice), 'the kubelet’s slice');
      assert.equal(exists(path), false);
      assert.ok(!ours().includes(scopeOf(containerId)));
    });

    it('a slice may be given by its name alone, and one that a pod created is removed with its last pod', async () => {
      const [first, second] = [
        await podBelow('one', 'brought-along.slice'),
        await podBelow('two', 'brought-along.slice'),
      ];
      const id = await runContainer(stage, second, { image, command: ['sleep', '600'] });
      await runContainer(stage, first, { image, command: ['sleep', '600'] });
      await removePod(stage, first);
      assert.ok(
        cgroupOf(await pidOf(stage, id)).startsWith(`/brought.slice/brought-along.slice/${scopeOf(id)}`),
      );
      await removePod(stage, second);
      assert.deepEqual([isActive('brought-along.slice'), isActive('brought.slice')], [false, false]);
      assert.equal(exists('/brought.slice'), false);
    });

    it('a pod without a parent has its own slice, which is removed with it', async () => {
      const pod = await podBelow('alone', '');
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      assert.ok(
        cgroupOf(await pidOf(stage, id)).startsWith(
          `/portcullis.slice/portcullis-${pod.id}.slice/${scopeOf(id)}`,
        ),
      );
      await removePod(stage, pod);
      assert.deepEqual(
        ours().filter((unit) => unit !== 'portcullis-monitors.scope'),
        [],
      );
      assert.equal(exists('/portcullis.slice'), false);
    });

    it('a path that is not a slice is refused, and the error says which option to set', async () => {
      const failure = await failureOf(podBelow('wrong', '/kubepods/burstable/pod1'));
      assert.equal(failure.code, 'RUNTIME_BAD_CGROUP_PARENT');
      assert.equal(failure.kind, 'invalid');
      assert.match(failure.message, /cgroupDriver: systemd/);
    });

    it('a container out of memory is reported as OOMKilled, and its unit is removed', async () => {
      const pod = await podBelow('oom', parent);
      for (const group of isV2 ? ['0', '1'] : ['0']) {
        const id = await runContainer(stage, pod, {
          name: `oom-${group}`,
          image,
          command: ['sh', '-c', 'tail /dev/zero; exit 9'],
          resources: {
            memoryLimitInBytes: 20 * MiB,
            memorySwapLimitInBytes: 20 * MiB,
            ...(isV2 && { unified: { 'memory.oom.group': group } }),
          },
        });
        const status = await exitOf(stage, id);
        assert.deepEqual([status.reason, status.exitCode], ['OOMKilled', group === '1' ? 137 : 9]);
        await eventually(`${scopeOf(id)} is left`, () => !ours().includes(scopeOf(id)));
      }
      await removePod(stage, pod);
    });

    it('resources that a killed daemon left are found and removed', async () => {
      const pod = await podBelow('killed', parent);
      const id = await runContainer(stage, pod, { image, command: ['sleep', '600'] });
      await stage.restart({ kill: true });
      assert.equal((await execute(stage, id, 'echo', 'here')).stdout, 'here\n');
      await removePod(stage, pod);
      assert.ok(!ours().includes(scopeOf(id)));
    });

    it('containers and their monitors survive when their service and its cgroup are stopped', async () => {
      const service = 'portcullisd-under-test.service';
      const { socket, root, state, policy, cniConf } = stage.folders;
      const flags = [
        '--socket',
        socket,
        '--root',
        root,
        '--state',
        state,
        '--policy',
        policy,
        '--cni-conf-dir',
        cniConf,
      ];
      const launcher = join(import.meta.dirname, '../../packaging/bin/portcullisd');
      let id = '';
      await stage.restart({
        meanwhile: async () => {
          const enter = [
            'nsenter',
            '--target',
            String(process.pid),
            '--mount',
            '--net',
            '--',
            launcher,
            ...flags,
          ];
          // KillMode=control-group is the default: everything in the service's cgroup is killed when it
          // stops.
          execFileSync('systemd-run', [
            '--quiet',
            '--collect',
            `--unit=${service}`,
            '-p',
            'Delegate=yes',
            ...enter,
          ]);
          const cri = createCriClient(socket);
          for (let attempt = 0; attempt < 1_200 && !(await accepts(socket)); attempt += 1) await pause(100);
          const inService = { ...stage, daemon: { ...stage.daemon, cri } };
          const pod = await runPod(inService, 'served', { linux: { cgroupParent: parent } }, handler);
          id = await runContainer(inService, pod, {
            image,
            command: ['sh', '-c', 'until [ -e /end ]; do sleep 0.1; done; exit 42'],
          });
          const monitor = Number(readFileSync(join(state, 'containers', id, 'monitor.pid'), 'utf8'));
          await eventually('the monitor is still in the service', () =>
            readFileSync(`/proc/${monitor}/cgroup`, 'utf8').includes(
              '/system.slice/portcullis-monitors.scope\n',
            ),
          );
          cri.close();
          systemctl('stop', service);
          assert.equal(isActive(service), false);
          assert.ok(existsSync(`/proc/${monitor}`), 'the monitor lives');
        },
      });
      const { status } = await runtime().containerStatus({ containerId: id });
      assert.equal(status?.state, ContainerState.CONTAINER_RUNNING);
      await execute(stage, id, 'touch', '/end');
      const ended = await exitOf(stage, id);
      assert.deepEqual([ended.exitCode, ended.reason], [42, 'Error']);
      await runtime().removePodSandbox({ podSandboxId: await sandboxOf(id) });
      await eventually('the monitors’ scope is left', () => !ours().includes('portcullis-monitors.scope'));
    });

    const sandboxOf = async (id: string): Promise<string> =>
      (await runtime().listContainers({ filter: { id } })).containers[0]?.podSandboxId ?? '';
  });
