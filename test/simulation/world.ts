import assert from 'node:assert/strict';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ProcessIdentity } from '../../base/process/index.ts';
import type { Attachment } from '../../cni-plugins/index.ts';
import type { ContainerRecord } from '../../runtime/containers/record.ts';
import { sharesPids } from '../../runtime/containers/pid-namespace.ts';
import type { ContainerEffects } from '../../runtime/containers/container-effects.ts';
import type { Exit } from '../../runtime/monitor/exits.ts';
import type { SandboxEffects } from '../../runtime/pods/service.ts';
import type { Keyed, Records } from '../../runtime/state/records.ts';
import type { Scheduler } from './scheduler.ts';

/** A process as the kernel and its monitor hold it: it outlives the daemon. */
interface Process {
  state: 'created' | 'running' | 'dead';
  readonly identity: ProcessIdentity;
  /** Whether its monitor lives. */
  monitored: boolean;
  /** What there is to know of its end, from the moment that its monitor has written it, or is gone without. */
  exit?: Exit;
  /** Who is told of the exit; gone with the daemon. */
  watcher: ((exit: Exit) => void) | undefined;
  ignoresTerm: boolean;
  /** The pod whose shared PID namespace it is in: it ends with that. */
  readonly sharedBy?: string;
}

/** The process that holds a pod's shared PID namespace. */
interface Infra {
  readonly identity: ProcessIdentity;
  alive: boolean;
  watcher: (() => void) | undefined;
}

/** Everything outside the daemon: what a crash leaves behind. */
export interface World {
  readonly disk: { sandbox: Map<string, string>; container: Map<string, string> };
  readonly namespaces: Set<string>;
  readonly links: Set<string>;
  readonly podFiles: Set<string>;
  readonly bundles: Set<string>;
  readonly rootfs: Set<string>;
  readonly exitFiles: Map<string, Exit>;
  readonly processes: Map<string, Process>;
  readonly infra: Map<string, Infra>;
  /** Containers whose first process ever ran, with the image it was made from. */
  readonly everRan: Map<string, string>;
  /** Changes with every start of the machine. */
  bootId: string;
  readonly monitorActs: MonitorActs;
}

/** What a monitor does after the end of its container: it writes the code, now or later, or it is lost. */
export type MonitorActs = (write: () => void, lose: () => void) => void;

export function emptyWorld(monitorActs: MonitorActs = (write) => write()): World {
  return {
    disk: { sandbox: new Map(), container: new Map() },
    namespaces: new Set(),
    links: new Set(),
    podFiles: new Set(),
    bundles: new Set(),
    rootfs: new Set(),
    exitFiles: new Map(),
    processes: new Map(),
    infra: new Map(),
    everRan: new Map(),
    bootId: 'b1',
    monitorActs,
  };
}

/** What is left in the world, beyond records; empty when nothing leaked. */
export function leftovers(world: World): string[] {
  const sets: [string, Iterable<string>][] = [
    ['namespaces', world.namespaces],
    ['link', world.links],
    ['pod files', world.podFiles],
    ['bundle', world.bundles],
    ['rootfs', world.rootfs],
    ['exit file', world.exitFiles.keys()],
    ['infra process', world.infra.keys()],
    ['process', [...world.processes].filter(([, process]) => process.state !== 'dead').map(([id]) => id)],
  ];
  return sets.flatMap(([what, ids]) => [...ids].map((id) => `${what} ${id}`));
}

/** Never settles: what a killed process was waiting for. */
function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}

/** How often things go wrong, each from 0 to 1. */
export interface Odds {
  /** The daemon dies before or after an effect. */
  readonly crash: number;
  /** An effect fails before it acts, or after it has acted. */
  readonly fail: number;
}

export const noFaults: Odds = { crash: 0, fail: 0 };

/** How one daemon of the simulation meets the world. A daemon that is dead gets no answer any more. */
export interface Incarnation {
  readonly alive: () => boolean;
  kill(): void;
  /** One effect: it waits its turn, may fail before it acts or after, and the daemon may die before or after it. */
  act<T>(name: string, body: () => T): Promise<T>;
  /** A look at something, without a wait. It may fail, as every read may without free descriptors. */
  look<T>(name: string, body: () => T): T;
}

/** Every failure of the simulation: a disk that is full, a read without free descriptors, a program that cannot be started. */
export function fault(name: string): PortcullisError {
  return new PortcullisError({ code: 'SIMULATED_FAULT', kind: 'internal', attempted: name, on: '', why: 'simulated', fix: 'retry' });
}

export function createIncarnation(scheduler: Scheduler, odds: Odds, onCrash: () => void): Incarnation {
  let alive = true;
  const kill = (): void => {
    if (!alive) return;
    alive = false;
    onCrash();
  };
  const maybeDie = (): boolean => {
    if (alive && scheduler.random() < odds.crash) kill();
    return !alive;
  };
  const maybeFail = (name: string, chance: number): void => {
    if (scheduler.random() < chance) throw fault(name);
  };
  return {
    alive: () => alive,
    kill,
    act: async <T>(name: string, body: () => T): Promise<T> => {
      if (!alive) return never();
      await scheduler.step();
      if (!alive || maybeDie()) return never();
      maybeFail(name, odds.fail / 2);
      const result = body();
      if (maybeDie()) return never();
      maybeFail(`${name} (done)`, odds.fail / 2);
      await scheduler.step();
      return alive ? result : never();
    },
    look: (name, body) => {
      if (alive) maybeFail(name, odds.fail / 2);
      return body();
    },
  };
}

/** Records on the simulated disk, as `openRecords` keeps them: a name belongs to one row, and goes from one that nobody knows. */
export function simulatedRecords<T extends Keyed>(disk: Map<string, string>, life: Incarnation): Records<T> {
  const memory = new Map<string, T>([...disk].map(([id, text]) => [id, JSON.parse(text) as T]));
  const list = (): T[] => [...memory.values()];
  const byName = (name: string): T | undefined => list().find((record) => record.name === name);
  return {
    get: (id) => memory.get(id),
    byName,
    find: (id) => memory.get(id),
    list,
    put: async (record) => {
      await life.act('put', () => {
        for (const [id, text] of disk) {
          if (id === record.id || (JSON.parse(text) as T).name !== record.name) continue;
          assert.equal(byName(record.name), undefined, `two records of one name: ${id} and ${record.id}`);
          disk.delete(id);
        }
        disk.set(record.id, JSON.stringify(record));
      });
      memory.set(record.id, record);
    },
    delete: async (id) => {
      await life.act('delete record', () => disk.delete(id));
      memory.delete(id);
    },
  };
}

let serial = 0;

export function sandboxEffects(world: World, life: Incarnation, scheduler: Scheduler): SandboxEffects {
  return {
    namespaces: {
      claim: ({ hostNetwork, hostIpc }) =>
        life.act('claim namespaces', () => {
          if (hostNetwork && hostIpc) return undefined;
          const dir = `ns-${(serial += 1)}`;
          world.namespaces.add(dir);
          return dir;
        }),
      release: (dir) => life.act('release namespaces', () => void world.namespaces.delete(dir)),
    },
    network: {
      attach: ({ id }) =>
        life.act('attach', () => {
          world.links.add(id);
          return { id } as Attachment;
        }),
      detach: (id) => life.act('detach', () => void world.links.delete(id)),
    },
    files: {
      make: (record) => life.act('pod files', () => void world.podFiles.add(record.id)),
      remove: (id) => life.act('remove pod files', () => void world.podFiles.delete(id)),
      stand: (id) => world.podFiles.has(id),
    },
    askNames: () => Promise.resolve(),
    cgroups: { place: (_asked, id) => `/portcullis/${id}`, owned: () => [], remove: () => Promise.resolve() },
    infra: {
      start: ({ id }) =>
        life.act('start infra', () => {
          // As an OCI runtime does for an id that it knows.
          if (world.infra.has(id)) throw new Error(`the infra process of ${id} exists`);
          const identity: ProcessIdentity = { pid: (serial += 1), startTime: id, bootId: world.bootId };
          world.infra.set(id, { identity, alive: true, watcher: undefined });
          return identity;
        }),
      end: ({ id }) =>
        life.act('end infra', () => {
          endInfra(world, id);
          world.infra.delete(id);
        }),
      isAlive: ({ startTime }) => life.look('look at infra', () => world.infra.get(startTime)?.alive === true),
      watch: ({ startTime }, tell) => {
        const infra = world.infra.get(startTime);
        const watcher = (): void => {
          if (life.alive()) void scheduler.step().then(() => (life.alive() && infra?.watcher === watcher ? tell() : undefined));
        };
        if (infra !== undefined) infra.watcher = watcher;
        if (infra?.alive === false) watcher();
        return () => {
          if (infra?.watcher === watcher) infra.watcher = undefined;
        };
      },
    },
    requireHandler: () => undefined,
    digest: (value) => JSON.stringify(value),
    newId: () => `s${(serial += 1)}`,
    now: () => String(scheduler.now()),
    sleep: (ms) => scheduler.sleep(ms),
    bootId: () => world.bootId,
  };
}

const lostExit: Exit = { code: 255, finishedAt: '1', fromMonitor: false };

/** A process ends: its monitor writes the file when it comes to it, then whoever watches is told. */
export function endProcess(world: World, id: string, code: number): void {
  const process = world.processes.get(id);
  if (process === undefined || process.state === 'dead') return;
  process.state = 'dead';
  const end = (exit: Exit): void => {
    if (!process.monitored) return;
    process.monitored = false;
    process.exit = exit;
    if (exit.fromMonitor) world.exitFiles.set(id, exit);
    process.watcher?.(exit);
  };
  world.monitorActs(
    () => end({ code, finishedAt: '1', fromMonitor: true }),
    () => end(lostExit),
  );
}

/** The machine starts again: what is not on disk is gone. Nobody knows how a process ended whose monitor had not written it. */
export function reboot(world: World): void {
  world.bootId = `b${(serial += 1)}`;
  for (const process of world.processes.values()) {
    process.state = 'dead';
    process.watcher = undefined;
    process.monitored = false;
    process.exit ??= lostExit;
  }
  for (const infra of world.infra.values()) [infra.alive, infra.watcher] = [false, undefined];
  for (const set of [world.namespaces, world.links, world.podFiles, world.bundles]) set.clear();
}

/** The process that holds a pod's PID namespace ends: the kernel ends every process in it. */
export function endInfra(world: World, sandboxId: string): void {
  const infra = world.infra.get(sandboxId);
  if (infra?.alive !== true) return;
  infra.alive = false;
  for (const [id, process] of world.processes) if (process.sharedBy === sandboxId) endProcess(world, id, 137);
  infra.watcher?.();
}

export function containerEffects(world: World, life: Incarnation, scheduler: Scheduler): ContainerEffects {
  return {
    admit: (config) =>
      life.act('admit', () => {
        const image = config.image?.image ?? '';
        if (image !== 'signed')
          throw new PortcullisError({ code: 'DENIED', kind: 'denied', attempted: 'admit', on: image, why: 'unsigned', fix: 'sign it' });
        return { imageId: image, imageRef: image, verdictId: 'v', token: undefined };
      }),
    prepare: (record, sandbox) =>
      life.act('prepare', () => {
        if (sharesPids(record.config) && world.infra.get(sandbox.id)?.identity.pid !== sandbox.infra?.process?.pid)
          throw new Error(`${record.id} is to join a PID namespace that is not its pod's`);
        world.rootfs.add(record.id);
        world.bundles.add(record.id);
        return { settingsDigest: 'd', networkClass: 'user', noNewPrivileges: true, user: record.user, stopSignal: 'SIGTERM' };
      }),
    create: (record) =>
      life.act('create', () => {
        const identity: ProcessIdentity = { pid: (serial += 1), startTime: record.id, bootId: world.bootId };
        world.processes.set(record.id, {
          state: 'created',
          identity,
          monitored: true,
          watcher: undefined,
          ignoresTerm: scheduler.random() < 0.3,
          ...(sharesPids(record.config) && { sharedBy: record.sandboxId }),
        });
        return { init: identity, monitor: identity };
      }),
    raiseNetwork: () => life.act('raise network', () => undefined),
    start: (record) =>
      life.act('start', () => {
        const process = world.processes.get(record.id);
        if (process?.state === 'dead')
          throw new PortcullisError({
            code: 'RUNTIME_OCI_FAILED',
            kind: 'precondition',
            attempted: 'start',
            on: record.id,
            why: 'its process has ended',
            fix: 'create another',
          });
        if (process?.state === 'created') {
          process.state = 'running';
          world.everRan.set(record.id, record.imageId);
          if (scheduler.random() < 0.2) endProcess(world, record.id, 7);
        }
      }),
    isStarted: (record) => life.act('observe', () => world.processes.get(record.id)?.state === 'running'),
    kill: (record, signal) => {
      if (!life.alive()) return;
      life.look('kill', () => undefined);
      const process = world.processes.get(record.id);
      if (process === undefined || process.state === 'dead') return;
      if (signal === 'SIGKILL') endProcess(world, record.id, 137);
      else if (process.state === 'running' && !process.ignoresTerm) endProcess(world, record.id, 143);
    },
    heeds: (record) => life.look('heeds', () => world.processes.get(record.id)?.ignoresTerm === false),
    killLeftovers: () => life.act('kill leftovers', () => undefined),
    destroy: (record) =>
      life.act('destroy', () => {
        const process = world.processes.get(record.id);
        if (process !== undefined) [process.state, process.monitored] = ['dead', false];
        for (const set of [world.bundles, world.rootfs]) set.delete(record.id);
        world.exitFiles.delete(record.id);
      }),
    watch: (record, tell) => {
      const process = world.processes.get(record.id);
      if (process === undefined) return () => undefined;
      const watcher = (exit: Exit): void => {
        if (life.alive()) void scheduler.step().then(() => (life.alive() ? tell(exit) : undefined));
      };
      process.watcher = watcher;
      if (process.exit !== undefined) watcher(process.exit);
      return () => {
        if (process.watcher === watcher) process.watcher = undefined;
      };
    },
    forgetExit: (id) => life.act('forget exit', () => void world.exitFiles.delete(id)),
    recordedExit: (id) => life.act('recorded exit', () => world.exitFiles.get(id)),
    wasOutOfMemory: () => life.act('out of memory', () => false),
    exec: () => life.act('exec', () => ({ exitCode: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) })),
    update: () => life.act('update', () => undefined),
    reopenLog: () => life.act('reopen log', () => undefined),
    isAlive: (record: ContainerRecord) => life.look('look at process', () => (world.processes.get(record.id)?.state ?? 'dead') !== 'dead'),
    isMonitored: (record: ContainerRecord) => life.look('look at monitor', () => world.processes.get(record.id)?.monitored === true),
    logPath: () => '',
    digest: (value) => JSON.stringify(value),
    newId: () => `c${(serial += 1)}`,
    now: () => String(scheduler.now() + 1),
    clock: { now: scheduler.now, sleep: (ms) => scheduler.sleep(ms) },
  };
}
