import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { ContainerState } from '../../runtime/client.ts';
import { newCase } from './acts.ts';
import type { Act, Case } from './acts.ts';
import { endOfLog, spawnDaemon, startDaemon } from './daemon.ts';
import { drawFault, isRead } from './faults/kinds.ts';
import { createFaultControl, writeFault } from './faults/orders.ts';
import type { Fault, FaultControl, Hit } from './faults/orders.ts';
import { startAgain, listed, settle } from './kills.ts';
import type { Scene } from './kills.ts';
import { CommandKilled, containerConfig, proveRuns, removeEverything } from './pods.ts';

/** The calls of each act, by its name and the round of its case. */
export type Recorded = ReadonlyMap<string, readonly (readonly Hit[])[]>;

/**
 * A pod with its own cgroup and host port whose containers share a PID namespace, and a pod with its own user
 * namespace: each has fault points that the other does not have.
 */
const rounds = [0, 1] as const;

function caseOf({ stage }: Scene, name: string, round: 0 | 1, port: number): Case {
  return newCase(stage, `${name}-${round}`, round === 0, round === 0 ? port : undefined);
}

/** The daemon's own start, treated as a request. */
export const startAct = 'start';

export type FaultPart = 'faults' | 'workers' | 'reads';

export interface FaultsReport {
  /** Faults that were injected; an act without calls of the part has none. */
  readonly faults: number;
  /** The faults whose call was made. */
  readonly fired: number;
  /** Requests that failed, each with a code. */
  readonly refused: number;
  /** Daemons that ended: by the fault, or because one of their threads was lost. */
  readonly ended: number;
  /** Leftovers of a failed removal that the next start removed. */
  readonly leftToStart: number;
  readonly failures: readonly string[];
}

interface Tally {
  faults: number;
  fired: number;
  refused: number;
  ended: number;
  leftToStart: number;
}

/** Starts the scene's daemon again, with fault points. */
export async function loadFaults(scene: Scene): Promise<FaultControl> {
  const { stage } = scene;
  const control = (stage.faults ??= createFaultControl(join(stage.folder, 'faults')));
  await scene.daemon.stop();
  scene.daemon = await startDaemon(stage);
  return control;
}

/** Records every call of a point during each act, and during a start with a running pod. */
export async function recordPoints(
  scene: Scene,
  control: FaultControl,
  chosen: readonly Act[],
): Promise<Recorded> {
  const recorded = new Map<string, (readonly Hit[])[]>();
  for (const act of chosen) {
    const hits: (readonly Hit[])[] = [];
    for (const round of rounds) {
      const it = caseOf(scene, 'record', round, 29_000);
      await act.prepare(scene.daemon.cri, it);
      control.give({ mode: 'record' });
      await act.request(scene.daemon.cri, it);
      hits.push(control.hits());
      control.give({ mode: 'off' });
      await act.prove(scene.daemon.cri, it);
      scene.observer.learnIds();
      await removeEverything(scene.daemon.cri);
    }
    recorded.set(act.name, hits);
  }
  const it = newCase(scene.stage, 'record-start', true);
  await runOne(scene, it);
  control.give({ mode: 'record' });
  await scene.daemon.kill();
  scene.daemon = await startDaemon(scene.stage);
  const hits = control.hits();
  recorded.set(startAct, [hits, hits]);
  control.give({ mode: 'off' });
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
  return recorded;
}

/** Injects `count` faults, into the acts and the start in turn. */
export async function failDuringActs(
  scene: Scene,
  control: FaultControl,
  chosen: readonly Act[],
  input: {
    readonly count: number;
    readonly random: () => number;
    readonly print: (line: string) => void;
    readonly recorded: Recorded;
    /** This fault, instead of one that is drawn. */
    readonly fault?: Fault;
    /** Faults of calls that change something, ends of Workers, or faults of calls that only read. */
    readonly part: FaultPart;
  },
): Promise<FaultsReport> {
  const { random, print, recorded } = input;
  const failures: string[] = [];
  const tally: Tally = { faults: 0, fired: 0, refused: 0, ended: 0, leftToStart: 0 };
  const turns: readonly (Act | undefined)[] =
    input.fault !== undefined && chosen.length === 1 ? chosen : [...chosen, undefined];
  const hitsOf = (act: Act | undefined, round: 0 | 1): readonly Hit[] =>
    (recorded.get(act?.name ?? startAct)?.[round] ?? []).filter(
      (hit) => isRead(hit) === (input.part === 'reads'),
    );
  for (let index = 0; index < input.count; index += 1) {
    const act = turns[index % turns.length];
    const round = random() < 0.5 ? 0 : 1;
    const hits = hitsOf(act, round);
    // Some acts make no read calls.
    if (hits.length === 0 && input.fault === undefined) continue;
    tally.faults += 1;
    const fault =
      input.fault ?? (input.part === 'workers' ? drawWorker(random, hits) : drawFault(random, hits));
    const it = caseOf(scene, `fault-${index}`, round, 30_000 + index);
    const title = `fault ${index}: --act ${act?.name ?? startAct} --fault '${writeFault(fault)}'`;
    try {
      const outcome =
        act === undefined
          ? await failStart(scene, control, it, fault, tally)
          : await failOnce(scene, control, act, it, fault, tally);
      const left = await lookAtRest(scene, act, fault, tally);
      if (left.length > 0) throw new Error(`${outcome}; after removing all:\n  ${listed(left)}`);
      print(`${title}: ${outcome}, held`);
    } catch (thrown) {
      failures.push(`${title}: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
      print(`FAILED ${failures.at(-1) ?? ''}\n${endOfLog(scene.stage)}`);
      await untilGone(scene, (await endFault(control)) && isEnd(fault));
      if (scene.daemon.isGone()) scene.daemon = await startDaemon(scene.stage);
      await startAgain(scene);
    }
  }
  return { ...tally, failures };
}

/**
 * Checks what is left. A removal that fails leaves files and rows to the next start, and a start that fails
 * to remove something leaves it to the next start. After that it must be gone. Nothing else may stay.
 */
async function lookAtRest(
  scene: Scene,
  act: Act | undefined,
  fault: Fault,
  tally: Tally,
): Promise<readonly string[]> {
  const left = await settle(scene.observer, scene.idle, 5_000);
  const mayWait = act === undefined || left.every((line) => /^left behind: (?:file|rows) /.test(line));
  if (left.length === 0 || !mayWait || fault.kind === 'delay' || fault.kind.startsWith('kill')) return left;
  await scene.daemon.stop();
  scene.daemon = await startDaemon(scene.stage);
  const still = await settle(scene.observer, scene.idle);
  if (still.length > 0) return still;
  tally.leftToStart += 1;
  return [];
}

/**
 * Draws the end of a Worker that takes part in the act, at one of its points or when it receives a message.
 */
function drawWorker(random: () => number, hits: readonly Hit[]): Fault {
  const ofWorkers = hits.filter(({ thread }) => thread !== 'main');
  const threads = [...new Set(ofWorkers.map(({ thread }) => thread))].sort();
  const thread = threads[Math.floor(random() * threads.length)];
  const drawn = drawFault(
    random,
    ofWorkers.filter((hit) => hit.thread === thread),
  );
  return {
    ...drawn,
    kind: drawn.point === 'message' || random() < 0.5 ? 'end' : 'end-after',
    error: '',
    delayMs: 0,
  };
}

async function failOnce(
  scene: Scene,
  control: FaultControl,
  act: Act,
  it: Case,
  fault: Fault,
  tally: Tally,
): Promise<string> {
  await act.prepare(scene.daemon.cri, it);
  control.give({ mode: 'fault', fault });
  const first = await attempt(scene, () => act.request(scene.daemon.cri, it));
  const fired = await endFault(control);
  if (fired) tally.fired += 1;
  if (first !== undefined) tally.refused += 1;
  if (first !== undefined && !fired) throw new Error(`the request fails without any fault: ${first}`);
  await comeBack(scene, fault, fired, tally);
  const again = await untilItHolds(scene, act, it, fault, tally);
  await act.prove(scene.daemon.cri, it);
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
  const said = first === undefined ? 'answered' : `refused (${first.slice(0, 160)})`;
  return `${fired ? '' : 'did not occur, '}${said}${again > 0 ? `, repeated ${again} times` : ''}`;
}

/**
 * Kills the daemon and injects a fault while it starts. The daemon serves, or reports why not and starts the
 * next time.
 */
async function failStart(
  scene: Scene,
  control: FaultControl,
  it: Case,
  fault: Fault,
  tally: Tally,
): Promise<string> {
  await runOne(scene, it);
  await scene.daemon.kill();
  control.give({ mode: 'fault', fault });
  const starting = await spawnDaemon(scene.stage);
  const daemon = await starting.listening().catch(() => undefined);
  const fired = await endFault(control);
  if (fired) tally.fired += 1;
  if (daemon !== undefined) scene.daemon = daemon;
  else {
    tally.ended += 1;
    if (!starting.isGone()) throw new Error('a daemon that does not listen does not end either');
    const end = endOfLog(scene.stage);
    if (!fired || (!isEnd(fault) && !/\[[A-Z]+_[A-Z_]+\]/.test(end)))
      throw new Error(`the daemon does not start and reports no reason: ${end}`);
    scene.daemon = await startDaemon(scene.stage);
  }
  await comeBack(scene, fault, fired, tally);
  await proveRuns(scene.daemon.cri, it.containerId);
  scene.observer.learnIds();
  await removeEverything(scene.daemon.cri);
  return `${fired ? '' : 'did not occur, '}${daemon === undefined ? 'ended with a reason' : 'serves'}`;
}

/**
 * Withdraws the fault and returns whether it has occurred: background work after an answer may meet it until
 * that moment.
 */
async function endFault(control: FaultControl): Promise<boolean> {
  control.give({ mode: 'off' });
  await pause(20);
  return control.hasFired();
}

const isEnd = ({ kind }: Fault): boolean => kind.startsWith('kill') || kind.startsWith('end');
const stuckMs = 45_000;
const holdsWithinMs = 30_000;

/**
 * Returns the error of the request; undefined when it succeeded. @throws when the request has no answer, or
 * one without a code
 */
export async function attempt(scene: Scene, request: () => Promise<unknown>): Promise<string | undefined> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`no answer within ${stuckMs / 1_000} s: the request is stuck`)),
    stuckMs,
  );
  const { daemon } = scene;
  try {
    await Promise.race([request(), late.promise]);
    return undefined;
  } catch (thrown) {
    if (thrown instanceof CommandKilled) return thrown.message;
    if (!isPortcullisError(thrown)) throw thrown;
    if (
      thrown.code.startsWith('CRI_') &&
      !daemon.isGone() &&
      !['CRI_UNREACHABLE', 'CRI_CANCELLED'].includes(thrown.code)
    )
      throw new Error(`the answer has no code of ours: ${thrown.message}`, { cause: thrown });
    return `${thrown.code} ${thrown.message}`;
  } finally {
    clearTimeout(timer);
  }
}

/** Starts the daemon again if the fault ended it; nothing else may end it. */
async function comeBack(scene: Scene, fault: Fault, fired: boolean, tally: Tally): Promise<void> {
  await untilGone(scene, fired && isEnd(fault));
  if (!scene.daemon.isGone()) return;
  const log = endOfLog(scene.stage);
  // A thread that cannot return from a pod's namespace ends the process: everything that it did there would
  // be wrong.
  if (!fired || (!isEnd(fault) && !log.includes('could not leave the namespaces')))
    throw new Error(`the daemon has ended; the end of its log:\n${log}`);
  tally.ended += 1;
  await scene.daemon.kill();
  scene.daemon = await startDaemon(scene.stage);
}

/** A daemon that has lost a thread and cannot continue exits within moments. */
async function untilGone(scene: Scene, mayEnd: boolean): Promise<void> {
  if (mayEnd) for (let waited = 0; waited < 500 && !scene.daemon.isGone(); waited += 20) await pause(20);
}

/**
 * Repeats as a kubelet does: the same request again, and another container instead of one whose start failed.
 */
async function untilItHolds(scene: Scene, act: Act, it: Case, fault: Fault, tally: Tally): Promise<number> {
  const end = performance.now() + holdsWithinMs;
  for (let times = 0; ; times += 1) {
    const failure = await attempt(scene, () => act.request(scene.daemon.cri, it));
    if (failure === undefined) return times;
    if (performance.now() > end)
      throw new Error(`the request fails for ${holdsWithinMs / 1_000} s after the fault: ${failure}`);
    await comeBack(scene, fault, true, tally);
    if (act.name === 'StartContainer') await replaceEnded(scene, it);
    await pause(100);
  }
}

/** Removes a container that has ended. Returns whether it had ended, or is gone. */
export async function removeEnded({ daemon: { cri } }: Scene, it: Case): Promise<boolean> {
  if (it.containerId === '') return false;
  const { containers } = await cri.runtime.listContainers({ filter: { id: it.containerId } });
  if (containers[0] !== undefined && containers[0].state !== ContainerState.CONTAINER_EXITED) return false;
  await cri.runtime.removeContainer({ containerId: it.containerId });
  return true;
}

/**
 * A container whose start has failed, or that was killed, is never started again: a kubelet creates the next
 * attempt.
 */
export async function replaceEnded(scene: Scene, it: Case): Promise<boolean> {
  if (!(await removeEnded(scene, it))) return false;
  const { cri } = scene.daemon;
  const config = containerConfig(it.reference, it.shared);
  const next = { ...config, metadata: { ...config.metadata, attempt: 1 } };
  it.containerId = (
    await cri.runtime.createContainer({ podSandboxId: it.podSandboxId, config: next, sandboxConfig: it.pod })
  ).containerId;
  return true;
}

async function runOne(scene: Scene, it: Case): Promise<void> {
  const { cri } = scene.daemon;
  await cri.image.pullImage({ image: { image: it.reference } });
  it.podSandboxId = (await cri.runtime.runPodSandbox({ config: it.pod })).podSandboxId;
  const request = {
    podSandboxId: it.podSandboxId,
    config: containerConfig(it.reference, it.shared),
    sandboxConfig: it.pod,
  };
  it.containerId = (await cri.runtime.createContainer(request)).containerId;
  await cri.runtime.startContainer({ containerId: it.containerId });
  scene.observer.learnIds();
}
