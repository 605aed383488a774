import { existsSync, globSync, readFileSync, readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises';
import { ContainerState } from '../../runtime/client.ts';
import { acts, newCase } from './acts.ts';
import type { Act, Case } from './acts.ts';
import { endOfLog, startDaemon } from './daemon.ts';
import { attempt, removeEnded, replaceEnded } from './faults.ts';
import { startAgain, listed, settle, untilMoment } from './kills.ts';
import type { Scene } from './kills.ts';
import { ownExitCode, proveRuns, removeEverything } from './pods.ts';
import { text } from './processes.ts';

/** The processes other than the daemon that are killed. */
export const victims = ['monitor', 'runtime', 'init'] as const;
export type Victim = (typeof victims)[number];

export interface OthersReport {
  readonly tries: Readonly<Record<Victim, number>>;
  /** Tries that found a process to kill. */
  readonly kills: Readonly<Record<Victim, number>>;
  /** Exits that were reported as lost: the monitor was killed, and no other process knows the code. */
  readonly monitorLost: number;
  readonly failures: readonly string[];
}

const forContainers = [
  'CreateContainer',
  'StartContainer',
  'UpdateContainerResources',
  'StopContainer',
  'RemoveContainer',
  'StopPodSandbox',
  'RemovePodSandbox',
];
const restMs = 200;
const execMs = 30;
const mostOfRuntimeMs = 12;
/** The exit code of a command that writes to a closed pipe: 128 and SIGPIPE. */
const brokenPipe = 141;

/**
 * Kills `count` processes, each of the three kinds in turn, during requests that involve a container and at
 * rest.
 */
export async function killOthers(
  scene: Scene,
  durations: ReadonlyMap<Act, number>,
  input: {
    readonly count: number;
    readonly random: () => number;
    readonly print: (line: string) => void;
    readonly act?: string;
  },
): Promise<OthersReport> {
  const { random, print } = input;
  const kills = { monitor: 0, runtime: 0, init: 0 };
  const tries = { ...kills };
  const tally = { monitorLost: 0 };
  const failures: string[] = [];
  const chosen = [...durations].filter(
    ([{ name }]) => forContainers.includes(name) && (input.act ?? name) === name,
  );
  const exec: Act = {
    name: 'ExecSync',
    prepare: async (cri, it) => acts.find(({ name }) => name === 'StopContainer')?.prepare(cri, it),
    request: (cri, it) => proveRuns(cri, it.containerId),
    prove: () => Promise.resolve(),
  };
  const turns: readonly (readonly [Act | undefined, number])[] =
    input.act === undefined ? [...chosen, [exec, execMs], [undefined, restMs]] : chosen;
  for (let index = 0; index < input.count; index += 1) {
    const victim = victims[index % victims.length] ?? 'monitor';
    tries[victim] += 1;
    const [act, duration] = turns[Math.floor(index / victims.length) % turns.length] ?? [undefined, restMs];
    // Early moments are more frequent: later there is less to kill.
    const atMs = random() ** 2 * duration;
    const it = newCase(
      scene.stage,
      `other-${index}`,
      random() < 0.5,
      random() < 0.5 ? 30_000 + index : undefined,
    );
    const title = `${victim} ${index}: ${act?.name ?? 'at rest'} at ${atMs.toFixed(1)} of ${duration.toFixed(1)} ms`;
    try {
      const hit = await killOne(scene, act, it, victim, atMs, tally);
      if (hit) kills[victim] += 1;
      const left = await settle(scene.observer, scene.idle);
      if (left.length > 0) throw new Error(`after removing all:\n  ${listed(left)}`);
      print(`${title}: ${hit ? 'killed' : 'there was none'}, held`);
    } catch (thrown) {
      failures.push(`${title}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      print(`FAILED ${failures.at(-1) ?? ''}\n${endOfLog(scene.stage)}`);
      if (scene.daemon.isGone()) scene.daemon = await startDaemon(scene.stage);
      await startAgain(scene);
    }
  }
  return { tries, kills, ...tally, failures };
}

/** Returns whether there was a process to kill. */
async function killOne(
  scene: Scene,
  act: Act | undefined,
  it: Case,
  victim: Victim,
  atMs: number,
  tally: { monitorLost: number },
): Promise<boolean> {
  const { stage, observer, daemon } = scene;
  const { cri } = daemon;
  const rest = acts.find(({ name }) => name === 'StopContainer');
  await (act ?? rest)?.prepare(cri, it);
  observer.learnIds();
  let answered = false;
  const begin = performance.now();
  const request = (
    act === undefined ? pause(atMs + 500) : attempt(scene, () => act.request(cri, it))
  ).finally(() => (answered = true));
  // The request is awaited below; it may fail before.
  request.catch(() => undefined);
  if (victim !== 'runtime') await untilMoment(begin + atMs);
  const look = victim === 'runtime' ? watchRuntimes(stage.state) : () => newestOf(stage.state, victim);
  let found = look();
  // If there is none now, take the next one that appears during the request.
  while (found === undefined && !answered) {
    await turn();
    found = look();
  }
  // A command of the runtime lasts some milliseconds: the moment is drawn within them.
  if (found !== undefined && victim === 'runtime')
    await untilMoment(performance.now() + (atMs % mostOfRuntimeMs));
  const hit = found !== undefined && (await killed(found));
  await request;
  if (daemon.isGone()) throw new Error(`the daemon has ended; the end of its log:\n${endOfLog(stage)}`);
  await expectTruth(scene, it, victim, tally);
  if (act === undefined) {
    await comeAgain(scene, it);
    await cri.runtime.stopContainer({ containerId: it.containerId, timeout: 20 }, { timeoutMs: 60_000 });
    await expectTruth(scene, it, victim, tally);
  }
  if (act !== undefined) await holds(scene, act, it, victim, tally);
  observer.learnIds();
  await removeEverything(cri);
  return hit;
}

/** Repeats the request and its check; for a container that has ended, with its next attempt. */
export async function holds(
  scene: Scene,
  act: Act,
  it: Case,
  victim: Victim,
  tally: { monitorLost: number },
): Promise<void> {
  const { cri } = scene.daemon;
  const end = performance.now() + 20_000;
  for (;;) {
    if (act.name === 'UpdateContainerResources' || act.name === 'ExecSync') await comeAgain(scene, it);
    else if (act.name === 'CreateContainer') await removeEnded(scene, it);
    else if (act.name === 'StartContainer') await replaceEnded(scene, it);
    const failure = await attempt(scene, () => act.request(cri, it));
    if (failure === undefined) break;
    if (performance.now() > end) throw new Error(`the request fails for 20 s after the kill: ${failure}`);
    await pause(100);
  }
  // `expectTruth` has checked its own exit code.
  if (act.name === 'StopContainer' || act.name === 'StopPodSandbox') return;
  try {
    await act.prove(cri, it);
  } catch (thrown) {
    // Without its monitor, a container that writes output ends by SIGPIPE, at any moment.
    if (victim !== 'monitor' || !needsItToRun(act)) throw thrown;
    await expectTruth(scene, it, victim, tally);
    await comeAgain(scene, it);
  }
}

/** These acts check a running container. */
const needsItToRun = ({ name }: Act): boolean =>
  ['CreateContainer', 'StartContainer', 'UpdateContainerResources'].includes(name);

/** Returns a running container: this one, or its next attempt. */
async function comeAgain(scene: Scene, it: Case): Promise<void> {
  const { cri } = scene.daemon;
  const end = performance.now() + 10_000;
  for (;;)
    try {
      if (await replaceEnded(scene, it)) await cri.runtime.startContainer({ containerId: it.containerId });
      return await proveRuns(cri, it.containerId);
    } catch (thrown) {
      if (performance.now() > end) throw thrown;
      await pause(100);
    }
}

/**
 * Checks that the reported state is what happened: the container runs and answers, or has ended with a code
 * that it or a signal caused. Only if its monitor was killed, the code may be reported as lost, and never as
 * another code.
 */
export async function expectTruth(
  scene: Scene,
  it: Case,
  victim: Victim,
  tally: { monitorLost: number },
): Promise<void> {
  if (it.containerId === '') return;
  const { cri } = scene.daemon;
  const end = performance.now() + 15_000;
  let isStarted = false;
  for (;;) {
    const { containers } = await cri.runtime.listContainers({ filter: { id: it.containerId } });
    if (containers.length === 0) return;
    const { status } = await cri.runtime.containerStatus({ containerId: it.containerId });
    const lives = initOf(it.containerId) !== undefined;
    if (status?.state === ContainerState.CONTAINER_EXITED) {
      if (lives)
        throw new Error(
          `the container is reported as exited (${status.exitCode} ${status.reason}), but its process runs`,
        );
      if (status.reason === 'MonitorLost' && status.exitCode === 255) tally.monitorLost += 1;
      if (status.reason === 'MonitorLost' && victim === 'monitor' && status.exitCode === 255) return;
      // 128 means that its start has failed.
      const codes = [
        ownExitCode,
        137,
        ...(victim === 'monitor' ? [brokenPipe] : []),
        ...(status.reason === 'StartError' ? [128] : []),
      ];
      if (!codes.includes(status.exitCode))
        throw new Error(`the exit is reported as ${status.exitCode} ${status.reason}`);
      return;
    }
    if (lives) return;
    // When a runtime cannot create the container, its message is kept and reported at the container's start
    // (docs/decisions/0072).
    if (status?.state === ContainerState.CONTAINER_CREATED && !isStarted && performance.now() > end - 8_000) {
      isStarted = true;
      const failed = await cri.runtime.startContainer({ containerId: it.containerId }).then(
        () => false,
        () => true,
      );
      if (!failed) throw new Error('a container without a process was started');
    }
    if (performance.now() > end)
      throw new Error(`the container's process is gone, and its state is ${status?.state ?? 'unknown'}`);
    await pause(50);
  }
}

interface Found {
  readonly pid: number;
  readonly words: readonly string[];
}

function processes(): readonly Found[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(processOf);
}

function processOf(name: string): Found {
  return { pid: Number(name), words: text(`/proc/${name}/cmdline`).split('\0') };
}

const isMonitor = ({ words }: Found): boolean => basename(words[0] ?? '') === 'conmon';
/** Whether a monitor waits for the next container: its log has not been moved. */
const isPrepared = ({ words }: Found): boolean =>
  words.some((word) => word.includes('/monitor-logs/') && existsSync(word.replace('k8s-file:', '')));
/**
 * Returns whether a process is a command of an OCI runtime of this daemon: it names the daemon's folder of
 * runtime states.
 */
const isRuntime = (found: Found, state: string): boolean =>
  !isMonitor(found) && found.words.some((word) => word.startsWith(`${state}/oci`));

/** Returns the youngest monitor or first process that belongs to the daemon of this state folder. */
function newestOf(state: string, victim: Victim): number | undefined {
  // Until its start, a first process has the command line of the runtime that created it.
  const inits = new Set(globSync(`${state}/containers/*/init.pid`).map((file) => Number(text(file))));
  const own = processes().filter((found) =>
    victim === 'init'
      ? inits.has(found.pid)
      : isMonitor(found) && !isPrepared(found) && found.words.some((word) => word.includes(state)),
  );
  return own.toSorted((a, b) => b.pid - a.pid)[0]?.pid;
}

/** Finds a command of the runtime that has just begun; skips those that already ran. */
function watchRuntimes(state: string): () => number | undefined {
  // The command that creates the next container already waits for its configuration.
  const isWaiting = (name: string): boolean => /^\d+$/.test(name) && processOf(name).words.includes('create');
  const before = new Set(readdirSync('/proc').filter((name) => !isWaiting(name)));
  const pids = (): string[] => readdirSync('/proc').filter((name) => !before.has(name) && /^\d+$/.test(name));
  return () =>
    pids()
      .map(processOf)
      .find((found) => isRuntime(found, state))?.pid;
}

/**
 * Returns whether the process existed. A killed process runs on until the kernel schedules its end: waits
 * until it is gone.
 */
async function killed(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    return false;
  }
  const isThere = (): boolean => /^State:\s+[^ZX]/m.test(text(`/proc/${pid}/status`));
  for (let waited = 0; isThere() && waited < 5_000; waited += 5) await pause(5);
  return true;
}

/** Returns a process in the container's cgroup other than its monitor. */
function initOf(id: string): number | undefined {
  return processes().find((found) => {
    if (isMonitor(found) || found.words[0] === '') return false;
    try {
      return (
        readFileSync(`/proc/${found.pid}/cgroup`, 'utf8').includes(id) &&
        !/^State:\s+Z/m.test(text(`/proc/${found.pid}/status`))
      );
    } catch {
      return false;
    }
  })?.pid;
}
