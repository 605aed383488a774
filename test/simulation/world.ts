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
}

export function emptyWorld(): World {
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

/** How one daemon of the simulation meets the world. A daemon that is dead gets no answer any more. */
export interface Incarnation {
  readonly alive: () => boolean;
  /** One effect: it waits its turn, may fail before it acts, and the daemon may die before or after it. */
  act<T>(name: string, body: () => T, canFail?: boolean): Promise<T>;
}

export function createIncarnation(
  scheduler: Scheduler,
  odds: { readonly crash: number; readonly fail: number },
  onCrash: () => void,
): Incarnation {
  let alive = true;
  const maybeDie = (): boolean => {
    if (alive && scheduler.random() < odds.crash) {
      alive = false;
      onCrash();
    }
    return !alive;
  };
  return {
    alive: () => alive,
    act: async <T>(name: string, body: () => T, canFail = true): Promise<T> => {
      if (!alive) return never();
      await scheduler.step();
      if (!alive || maybeDie()) return never();
      if (canFail && scheduler.random() < odds.fail) {
        throw new PortcullisError({ code: 'SIMULATED_FAULT', kind: 'internal', attempted: name, on: '', why: 'simulated', fix: 'retry' });
      }
      const result = body();
      if (maybeDie()) return never();
      await scheduler.step();
      return alive ? result : never();
    },
  };
}

/** Records on the simulated disk, as `openRecords` keeps them. */
export function simulatedRecords<T extends Keyed>(disk: Map<string, string>, life: Incarnation): Records<T> {
  const memory = new Map<string, T>([...disk].map(([id, text]) => [id, JSON.parse(text) as T]));
  const list = (): T[] => [...memory.values()];
  return {
    get: (id) => memory.get(id),
    byName: (name) => list().find((record) => record.name === name),
    find: (id) => memory.get(id),
    list,
    put: async (record) => {
      await life.act('put', () => disk.set(record.id, JSON.stringify(record)), false);
      memory.set(record.id, record);
    },
    delete: async (id) => {
      await life.act('delete record', () => disk.delete(id), false);
      memory.delete(id);
    },
  };
}

let serial = 0;

export function sandboxEffects(world: World, life: Incarnation, scheduler: Scheduler): SandboxEffects {
  return {
    namespaces: {
      claim: () =>
        life.act('claim namespaces', () => {
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
    },
    askNames: () => Promise.resolve(),
    cgroups: { place: (_asked, id) => `/portcullis/${id}`, owned: () => [], remove: () => Promise.resolve() },
    infra: {
      start: ({ id }) =>
        life.act('start infra', () => {
          // As an OCI runtime does for an id that it knows.
          if (world.infra.has(id)) throw new Error(`the infra process of ${id} exists`);
          const identity: ProcessIdentity = { pid: (serial += 1), startTime: id, bootId: 'b' };
          world.infra.set(id, { identity, alive: true, watcher: undefined });
          return identity;
        }),
      end: ({ id }) =>
        life.act('end infra', () => {
          endInfra(world, id);
          world.infra.delete(id);
        }),
      isAlive: ({ startTime }) => world.infra.get(startTime)?.alive === true,
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
  };
}

/** A process ends: its monitor writes the file, then whoever watches is told. */
export function endProcess(world: World, id: string, code: number): void {
  const process = world.processes.get(id);
  if (process === undefined || process.state === 'dead') return;
  process.state = 'dead';
  process.exit = { code, finishedAt: '1', fromMonitor: true };
  world.exitFiles.set(id, process.exit);
  process.watcher?.(process.exit);
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
        const identity: ProcessIdentity = { pid: (serial += 1), startTime: record.id, bootId: 'b' };
        world.processes.set(record.id, {
          state: 'created',
          identity,
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
        if (process?.state === 'created') {
          process.state = 'running';
          world.everRan.set(record.id, record.imageId);
          if (scheduler.random() < 0.2) endProcess(world, record.id, 7);
        }
      }),
    isStarted: (record) => life.act('observe', () => world.processes.get(record.id)?.state === 'running', false),
    kill: (record, signal) => {
      if (!life.alive()) return;
      const process = world.processes.get(record.id);
      if (process === undefined || process.state === 'dead') return;
      if (signal === 'SIGKILL') endProcess(world, record.id, 137);
      else if (process.state === 'running' && !process.ignoresTerm) endProcess(world, record.id, 143);
    },
    heeds: (record) => world.processes.get(record.id)?.ignoresTerm === false,
    killLeftovers: () => Promise.resolve(),
    destroy: (record) =>
      life.act('destroy', () => {
        const process = world.processes.get(record.id);
        if (process !== undefined) process.state = 'dead';
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
    forgetExit: (id) => life.act('forget exit', () => void world.exitFiles.delete(id), false),
    recordedExit: (id) => life.act('recorded exit', () => world.exitFiles.get(id), false),
    wasOutOfMemory: () => Promise.resolve(false),
    exec: () => life.act('exec', () => ({ exitCode: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) })),
    update: () => life.act('update', () => undefined),
    reopenLog: () => life.act('reopen log', () => undefined),
    isAlive: (record: ContainerRecord) => {
      const process = world.processes.get(record.id);
      return process !== undefined && process.state !== 'dead';
    },
    logPath: () => '',
    digest: (value) => JSON.stringify(value),
    newId: () => `c${(serial += 1)}`,
    now: () => String(scheduler.now() + 1),
    clock: { now: scheduler.now, sleep: (ms) => scheduler.sleep(ms) },
  };
}
