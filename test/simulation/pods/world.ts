import type { ProcessIdentity } from '../../../base/process/index.ts';
import type { Exit } from '../../../runtime/monitor/exits.ts';
import { createStoredDatabase } from '../engine/database.ts';
import type { StoredDatabase } from '../engine/database.ts';
import { createTroubles } from '../engine/faults.ts';
import type { Troubles } from '../engine/faults.ts';
import { hold } from '../engine/invariants.ts';
import type { Scheduler } from '../engine/scheduler.ts';
import { noReport } from '../engine/history-events.ts';
import type { Report } from '../engine/history-events.ts';

/** A process as the kernel and its monitor hold it: it outlives the daemon. */
interface Process {
  state: 'created' | 'running' | 'dead';
  readonly identity: ProcessIdentity;
  /** Whether its monitor lives. */
  monitored: boolean;
  /** Its exit, known from the moment that its monitor has written it or is gone without writing. */
  exit?: Exit;
  /** Called with the exit; gone with the daemon. */
  watcher: ((exit: Exit) => void) | undefined;
  ignoresTerm: boolean;
  /** The pod whose shared PID namespace it is in: it ends with that namespace. */
  readonly sharedBy?: string;
}

/** The process that holds a pod's shared PID namespace. */
interface Infra {
  readonly identity: ProcessIdentity;
  alive: boolean;
  watcher: (() => void) | undefined;
}

/** Everything outside the daemon: the state that a crash leaves behind. */
export interface World {
  readonly scheduler: Scheduler;
  readonly report: Report;
  readonly troubles: Troubles;
  readonly database: StoredDatabase;
  readonly namespaces: Set<string>;
  /** Links in the kernel: gone with the machine. */
  readonly links: Set<string>;
  /** Addresses by sandbox, on the disk. */
  readonly leases: Map<string, number>;
  readonly podFiles: Set<string>;
  readonly bundles: Set<string>;
  readonly rootfs: Set<string>;
  readonly exitFiles: Map<string, Exit>;
  readonly processes: Map<string, Process>;
  readonly infra: Map<string, Infra>;
  /** Containers whose first process ever ran, with the image of each. */
  readonly everRan: Map<string, string>;
  /** Changes with every start of the machine. */
  bootId: string;
  readonly monitorActs: MonitorActs;
  /** Returns nanoseconds since 1970, in decimal. */
  wall(): string;
  /** Returns another number with each call. */
  serial(): number;
}

/** The monitor's action after the end of its container: it writes the code, now or later, or it is lost. */
export type MonitorActs = (write: () => void, lose: () => void) => void;

export function emptyWorld(
  scheduler: Scheduler,
  report: Report = noReport,
  monitorActs: MonitorActs = (write) => write(),
): World {
  let serial = 0;
  return {
    scheduler,
    report,
    troubles: createTroubles(scheduler),
    database: createStoredDatabase(),
    namespaces: new Set(),
    links: new Set(),
    leases: new Map(),
    podFiles: new Set(),
    bundles: new Set(),
    rootfs: new Set(),
    exitFiles: new Map(),
    processes: new Map(),
    infra: new Map(),
    everRan: new Map(),
    bootId: 'b1',
    monitorActs,
    wall: () => String(BigInt(scheduler.wall()) * 1_000_000n),
    serial: () => (serial += 1),
  };
}

/** Returns what is left in the world besides records; empty when nothing leaked. */
export function leftovers(world: World): string[] {
  const sets: [string, Iterable<string>][] = [
    ['namespaces', world.namespaces],
    ['link', world.links],
    ['address of', world.leases.keys()],
    ['pod files', world.podFiles],
    ['bundle', world.bundles],
    ['rootfs', world.rootfs],
    ['exit file', world.exitFiles.keys()],
    ['infra process', world.infra.keys()],
    ['process', [...world.processes].filter(([, process]) => process.state !== 'dead').map(([id]) => id)],
  ];
  return sets.flatMap(([what, ids]) => [...ids].map((id) => `${what} ${id}`));
}

/** Removes all watchers: the daemon is gone. */
export function forgetWatchers(world: World): void {
  for (const process of [...world.processes.values(), ...world.infra.values()]) process.watcher = undefined;
}

/** Gives a pod its link and the lowest free address; a pod that has both gets the same again. */
export function giveLink(world: World, id: string): number {
  world.links.add(id);
  const existing = world.leases.get(id);
  if (existing !== undefined) return existing;
  const used = new Set(world.leases.values());
  let address = 2;
  while (used.has(address)) address += 1;
  world.leases.set(id, address);
  return address;
}

const lost = (finishedAt: string): Exit => ({ code: 255, finishedAt, fromMonitor: false });

/** Ends a process: its monitor writes the file when its turn comes, then the watcher is called. */
export function endProcess(world: World, id: string, code: number): void {
  const process = world.processes.get(id);
  if (process === undefined || process.state === 'dead') return;
  process.state = 'dead';
  world.report(`  process of ${id} ends with ${code}`);
  const end = (exit: Exit): void => {
    if (!process.monitored) return;
    process.monitored = false;
    process.exit = exit;
    if (exit.fromMonitor) world.exitFiles.set(id, exit);
    process.watcher?.(exit);
  };
  world.monitorActs(
    () => end({ code, finishedAt: world.wall(), fromMonitor: true }),
    () => end(lost(world.wall())),
  );
}

/** Ends the process that holds a pod's PID namespace: the kernel ends every process in it. */
export function endInfra(world: World, sandboxId: string): void {
  const infra = world.infra.get(sandboxId);
  if (infra?.alive !== true) return;
  infra.alive = false;
  for (const [id, process] of world.processes) if (process.sharedBy === sandboxId) endProcess(world, id, 137);
  infra.watcher?.();
}

/**
 * Restarts the machine: state that is not on disk is gone, and writes that the database had not synced may
 * be. The exit code of a process whose monitor had not written it is unknown.
 */
export function reboot(world: World): void {
  world.bootId = `b${world.serial()}`;
  for (const process of world.processes.values()) {
    process.state = 'dead';
    process.watcher = undefined;
    process.monitored = false;
    process.exit ??= lost(world.wall());
  }
  for (const infra of world.infra.values()) [infra.alive, infra.watcher] = [false, undefined];
  // The files of pods outlive the boot if they are on a disk.
  const filesGo = world.scheduler.decisions.choose('files of pods outlive the boot', 2) === 0;
  for (const set of [world.namespaces, world.links, world.bundles, ...(filesGo ? [world.podFiles] : [])])
    set.clear();
  world.database.losePower(world.scheduler.decisions);
}

/** Checks what is true of the world at every moment. */
export function checkWorld(world: World): void {
  hold(
    'true attachments',
    new Set(world.leases.values()).size === world.leases.size,
    'two pods have one address',
  );
  for (const [id, image] of world.everRan)
    hold('verdict before use', image === 'signed', `container ${id} ran ${image}`);
}
