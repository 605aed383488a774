import { PortcullisError } from '../../../base/errors/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { ContainerEffects } from '../../../runtime/containers/container-effects.ts';
import { sharesPids } from '../../../runtime/containers/pid-namespace.ts';
import type { Exit } from '../../../runtime/monitor/exits.ts';
import type { Incarnation } from '../engine/incarnation.ts';
import { hold } from '../engine/invariants.ts';
import { endProcess } from './world.ts';
import type { World } from './world.ts';

/** Applies the effects of a container's lifecycle to the simulated world, for one daemon. */
export function containerEffects(world: World, life: Incarnation): ContainerEffects {
  const { scheduler } = world;
  const { decisions } = scheduler;
  const isAlive = (id: string): boolean => (world.processes.get(id)?.state ?? 'dead') !== 'dead';
  return {
    admit: (config) =>
      life.act('read', 'admission', () => {
        const image = config.image?.image ?? '';
        if (image !== 'signed')
          throw new PortcullisError({
            code: 'DENIED',
            kind: 'denied',
            attempted: 'admit',
            on: image,
            why: 'unsigned',
            fix: 'sign it',
          });
        return { imageId: image, imageRef: image, verdictId: 'v', token: undefined };
      }),
    prepare: (record, sandbox) =>
      life.act(
        'write',
        `preparation of ${record.id}`,
        () => {
          const joins = world.infra.get(sandbox.id)?.identity.pid === sandbox.infra?.process?.pid;
          hold(
            'legal states',
            !sharesPids(record.config) || joins,
            `${record.id} is to join a PID namespace that is not its pod's`,
          );
          world.rootfs.add(record.id);
        },
        () => {
          world.bundles.add(record.id);
          return {
            settingsDigest: 'd',
            networkClass: 'user',
            noNewPrivileges: true,
            user: record.user,
            stopSignal: 'SIGTERM',
          };
        },
      ),
    create: (record) =>
      life.act('spawn', `creation of ${record.id}`, () => {
        const identity: ProcessIdentity = { pid: world.serial(), startTime: record.id, bootId: world.bootId };
        world.processes.set(record.id, {
          state: 'created',
          identity,
          monitored: true,
          watcher: undefined,
          ignoresTerm: decisions.weigh('ignores its stop signal', [0.3]) > 0,
          ...(sharesPids(record.config) && { sharedBy: record.sandboxId }),
        });
        return { init: identity, monitor: identity };
      }),
    raiseNetwork: () => life.act('write', 'rise of the network', () => undefined),
    start: (record) =>
      life.act('spawn', `start of ${record.id}`, () => {
        const process = world.processes.get(record.id);
        if (process?.state === 'dead')
          throw new PortcullisError({
            ...{ code: 'RUNTIME_OCI_FAILED', kind: 'precondition', attempted: 'start', on: record.id },
            ...{ why: 'its process has ended', fix: 'create another' },
          });
        if (process?.state === 'created') {
          process.state = 'running';
          world.everRan.set(record.id, record.imageId);
          if (decisions.weigh('ends at once', [0.2]) > 0) endProcess(world, record.id, 7);
        }
      }),
    isStarted: (record) =>
      life.act('spawn', `state of ${record.id}`, () => world.processes.get(record.id)?.state === 'running'),
    kill: (record, signal) => {
      if (!life.alive()) return;
      life.look('kill', () => undefined);
      const process = world.processes.get(record.id);
      if (process === undefined || process.state === 'dead') return;
      if (signal === 'SIGKILL') endProcess(world, record.id, 137);
      else if (process.state === 'running' && !process.ignoresTerm) endProcess(world, record.id, 143);
    },
    reception: (record) =>
      life.look('look at signals', () =>
        world.processes.get(record.id)?.ignoresTerm === false ? 'received' : 'dropped',
      ),
    killLeftovers: () => life.act('read', 'kill of leftovers', () => undefined),
    releaseTask: () => life.act('spawn', 'removal of the task', () => undefined),
    destroy: (record) =>
      life.act(
        'removal',
        `destruction of ${record.id}`,
        () => {
          const process = world.processes.get(record.id);
          if (process !== undefined) [process.state, process.monitored] = ['dead', false];
        },
        () => void world.rootfs.delete(record.id),
        () => void world.bundles.delete(record.id),
        () => void world.exitFiles.delete(record.id),
      ),
    watch: (record, report) => {
      const process = world.processes.get(record.id);
      if (process === undefined) return () => undefined;
      const watcher = (exit: Exit): void => {
        if (life.alive()) void scheduler.step().then(() => (life.alive() ? report(exit) : undefined));
      };
      process.watcher = watcher;
      if (process.exit !== undefined) watcher(process.exit);
      return () => {
        if (process.watcher === watcher) process.watcher = undefined;
      };
    },
    forgetExit: (id) =>
      life.act('removal', `removal of the exit file of ${id}`, () => void world.exitFiles.delete(id)),
    recordedExit: (id) => life.act('read', `read of the exit file of ${id}`, () => world.exitFiles.get(id)),
    wasOutOfMemory: () => life.act('read', 'look at memory', () => false),
    exec: () =>
      life.act('spawn', 'exec', () => ({ exitCode: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) })),
    update: () => life.act('write', 'update', () => undefined),
    reopenLog: () => life.act('write', 'reopening of the log', () => undefined),
    isAlive: ({ id }) => life.look('look at process', () => isAlive(id)),
    isMonitored: ({ id }) => life.look('look at monitor', () => world.processes.get(id)?.monitored === true),
    logPath: () => '',
    digest: (value) => JSON.stringify(value),
    // All ids have the same length: no id begins with another.
    expect: () => undefined,
    forgetId: () => Promise.resolve(),
    close: () => Promise.resolve(),
    newId: () => `c${String(world.serial()).padStart(3, '0')}`,
    now: world.wall,
    clock: { now: scheduler.now, sleep: (ms) => scheduler.sleep(ms) },
  };
}
