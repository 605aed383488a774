import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { newCase } from './acts.ts';
import type { Act } from './acts.ts';
import { endOfLog, startDaemon } from './daemon.ts';
import { attempt } from './faults.ts';
import { startAgain, listed, settle } from './kills.ts';
import type { Scene } from './kills.ts';
import { expectTruth, holds } from './other-processes.ts';
import { removeEverything } from './pods.ts';

export interface LimitsReport {
  readonly limits: number;
  readonly refused: number;
  readonly oomKills: number;
  /** Daemons that the kernel killed because memory ran out. */
  readonly ended: number;
  readonly failures: readonly string[];
}

const mib = 2 ** 20;
const mostDescriptors = 24;
const mostMemory = 12 * mib;

/**
 * Makes `count` requests in turn while the daemon has few free descriptors, or little memory in its own
 * cgroup. Each is answered with a code; no existing object is reported as missing; without the limit the same
 * request succeeds, and nothing is left, also no descriptor.
 */
export async function limitDuringActs(
  scene: Scene,
  chosen: readonly Act[],
  input: { readonly count: number; readonly random: () => number; readonly print: (line: string) => void },
): Promise<LimitsReport> {
  const { random, print } = input;
  const { stage } = scene;
  let oomKills = 0;
  const group = openGroup(`portcullis-limited-${process.pid}`);
  const tally = { refused: 0, ended: 0, monitorLost: 0 };
  const failures: string[] = [];
  stage.place = group.enter;
  try {
    await scene.daemon.stop();
    scene.daemon = await startDaemon(stage);
    await warmUp(scene, chosen);
    const begin = { pid: scene.daemon.pid, descriptors: descriptorsOf(scene.daemon.pid).size };
    for (let index = 0; index < input.count; index += 1) {
      const act = chosen[index % chosen.length] as Act;
      const ofMemory = Math.floor(index / chosen.length) % 2 === 1;
      const room = Math.floor(random() ** 2 * (ofMemory ? mostMemory : mostDescriptors));
      const title = `limit ${index}: ${act.name} with ${ofMemory ? `${(room / mib).toFixed(1)} MiB of memory` : `${room} descriptors`}`;
      // Another process in the cgroup takes the available memory: the kernel kills the largest process, which
      // is the daemon.
      const crowded = ofMemory && random() < 0.5;
      const limit = (): void =>
        ofMemory ? group.leave(room, crowded) : leaveDescriptors(scene.daemon.pid, room);
      const lift = (): void => {
        if (ofMemory) group.lift();
        else if (!scene.daemon.isGone()) liftDescriptors(scene.daemon.pid);
      };
      try {
        const outcome = await limitOne(scene, act, index, { limit, lift, kills: group.kills, tally });
        const left = await settle(scene.observer, scene.idle);
        if (left.length > 0) throw new Error(`after removing all:\n  ${listed(left)}`);
        print(`${title}: ${outcome}, held`);
      } catch (thrown) {
        failures.push(`${title}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
        print(`FAILED ${failures.at(-1) ?? ''}\n${endOfLog(stage)}`);
        lift();
        if (scene.daemon.isGone()) scene.daemon = await startDaemon(stage);
        await startAgain(scene);
      }
    }
    if (scene.daemon.pid === begin.pid) {
      const left = await descriptorsLeft(begin);
      if (left > 0) failures.push(`the daemon holds ${left} descriptors more than before`);
    }
  } finally {
    delete stage.place;
    await scene.daemon.stop();
    const { ids } = group;
    oomKills = group.kills();
    if (ids().length > 0) failures.push(`the daemon left processes in its cgroup: ${ids().join(', ')}`);
    else group.close();
    scene.daemon = await startDaemon(stage);
  }
  return { limits: input.count, refused: tally.refused, oomKills, ended: tally.ended, failures };
}

/** Opens all descriptors that are opened once and stay open. */
async function warmUp(scene: Scene, chosen: readonly Act[]): Promise<void> {
  const it = newCase(scene.stage, 'warm-0', false);
  const act = chosen.find(({ name }) => name === 'UpdateContainerResources') ?? chosen[0];
  await act?.prepare(scene.daemon.cri, it);
  await act?.request(scene.daemon.cri, it);
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
}

async function limitOne(
  scene: Scene,
  act: Act,
  index: number,
  parts: {
    readonly limit: () => void;
    readonly lift: () => void;
    readonly kills: () => number;
    readonly tally: { refused: number; ended: number; monitorLost: number };
  },
): Promise<string> {
  const { limit, lift, kills, tally } = parts;
  const it = newCase(scene.stage, `limit-${index}`, index % 3 === 0);
  await act.prepare(scene.daemon.cri, it);
  const before = kills();
  limit();
  const failure = await attempt(scene, () => act.request(scene.daemon.cri, it));
  if (failure !== undefined) tally.refused += 1;
  // Also while no resource is left: living objects are not reported as gone.
  if (failure !== undefined && it.containerId !== '') await stillTrue(scene, it.containerId);
  lift();
  // A process that the kernel kills takes a moment to end.
  await pause(300);
  const killed = kills() > before;
  if (scene.daemon.isGone()) {
    if (!killed) throw new Error(`the daemon has ended; the end of its log:\n${endOfLog(scene.stage)}`);
    tally.ended += 1;
    scene.daemon = await startDaemon(scene.stage);
  }
  // The exit code is lost with a monitor that is killed.
  const victim = killed ? 'monitor' : 'init';
  await expectTruth(scene, it, victim, tally);
  await holds(scene, act, it, victim, tally);
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
  return failure === undefined ? 'answered' : `refused (${failure.slice(0, 160)})`;
}

/** Checks that a container is listed, or that the request is refused with a code. */
async function stillTrue(scene: Scene, containerId: string): Promise<void> {
  const { runtime } = scene.daemon.cri;
  const gone = await attempt(scene, () => runtime.containerStatus({ containerId }));
  if (gone?.includes('NOT_FOUND') !== true) return;
  const { containers } = await runtime.listContainers({ filter: { id: containerId } });
  if (containers.length > 0) throw new Error(`a container that is listed is reported as gone: ${gone}`);
}

function descriptorsOf(pid: number): Set<number> {
  return new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
}

/** Sets the limit so that the process can open `count` more descriptors. */
function leaveDescriptors(pid: number, count: number): void {
  const used = descriptorsOf(pid);
  let limit = 0;
  for (let free = 0; used.has(limit) || free < count; limit += 1) if (!used.has(limit)) free += 1;
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:`]);
}

function liftDescriptors(pid: number): void {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8'))?.[1] ?? '';
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${hard}:`]);
}

/** An idle look-up process ends within half a minute, and idle connections are closed. */
async function descriptorsLeft({
  pid,
  descriptors,
}: {
  readonly pid: number;
  readonly descriptors: number;
}): Promise<number> {
  for (let waited = 0; ; waited += 500) {
    const left = descriptorsOf(pid).size - descriptors;
    if (left <= 0 || waited >= 45_000) return left;
    await pause(500);
  }
}

interface Group {
  enter(pid: number): void;
  /**
   * Sets the limit to the memory that cannot be reclaimed and `bytes` more: file contents have to be read
   * again and again.
   * @param crowded another process uses all remaining memory
   */
  leave(bytes: number, crowded: boolean): void;
  lift(): void;
  /** Returns the number of OOM kills so far. */
  kills(): number;
  ids(): readonly string[];
  close(): void;
}

/** A cgroup with the memory controller, of either version. */
function openGroup(name: string): Group {
  const isV1 = existsSync('/sys/fs/cgroup/memory/cgroup.procs');
  const folder = join('/sys/fs/cgroup', isV1 ? 'memory' : '', name);
  const [limitFile, usageFile, killsFile] = isV1
    ? ['memory.limit_in_bytes', 'memory.usage_in_bytes', 'memory.oom_control']
    : ['memory.max', 'memory.current', 'memory.events'];
  mkdirSync(folder);
  let neighbour: ChildProcess | undefined;
  const read = (file: string): string => readFileSync(join(folder, file), 'utf8');
  const write = (file: string, text: string): void => writeFileSync(join(folder, file), text);
  const ids = (): string[] =>
    read('cgroup.procs')
      .split('\n')
      .filter((id) => id !== '');
  return {
    enter: (pid) => write('cgroup.procs', String(pid)),
    leave: (bytes, crowded) => {
      const files = [...read('memory.stat').matchAll(/^(?:in)?active_file (\d+)/gm)].reduce(
        (sum, [, count]) => sum + Number(count),
        0,
      );
      const least = Number(read(usageFile)) - files + bytes;
      // Version 1 refuses a limit that it cannot reach by reclaiming memory.
      for (let limit = least; ; limit += mib)
        try {
          write(limitFile, String(limit));
          break;
        } catch (thrown) {
          if ((thrown as NodeJS.ErrnoException).code !== 'EBUSY') throw thrown;
        }
      if (!crowded) return;
      neighbour = spawn('tail', ['/dev/zero'], { stdio: 'ignore' });
      write('cgroup.procs', String(neighbour.pid ?? 0));
    },
    lift: () => {
      neighbour?.kill('SIGKILL');
      neighbour = undefined;
      write(limitFile, isV1 ? '-1' : 'max');
    },
    kills: () => Number(/^oom_kill (\d+)/m.exec(read(killsFile))?.[1] ?? 0),
    ids,
    close: () => rmdirSync(folder),
  };
}
