import { setImmediate as turn, setTimeout as pause } from 'node:timers/promises';
import { beginJournal } from '../specification/journal.ts';
import { acts, newCase } from './acts.ts';
import type { Act, Case } from './acts.ts';
import { endOfLog, spawnDaemon, startDaemon } from './daemon.ts';
import type { RunningDaemon } from './daemon.ts';
import { difference } from './outside.ts';
import type { Observer } from './outside.ts';
import { removeEverything } from './pods.ts';
import type { Stage } from './stage.ts';

export interface Scene {
  readonly stage: Stage;
  readonly observer: Observer;
  daemon: RunningDaemon;
  /**
   * The observer's view of an idle daemon: one that never had a pod, and one that had (its bridge and its
   * rules remain in place).
   */
  idle: readonly (readonly string[])[];
}

export interface KillsReport {
  readonly kills: number;
  /** Kills that came before the answer. */
  readonly cut: number;
  /** Second kills, while the daemon recovered from the first. */
  readonly again: number;
  readonly failures: readonly string[];
}

const quietMs = 15_000;
const lookUpMs = 45_000;
const poolSize = 4;

/** Returns the first of the leftovers, for a message. */
export function listed(left: readonly string[]): string {
  const more = left.length > mostListed ? [`and ${left.length - mostListed} more`] : [];
  return [...left.slice(0, mostListed), ...more].join('\n  ');
}
const mostListed = 25;

/**
 * Observes until the outside matches one of the expected views; returns the differences from the nearest one
 * after `withinMs`.
 */
export async function settle(
  observer: Observer,
  expected: readonly (readonly string[])[],
  withinMs = quietMs,
): Promise<readonly string[]> {
  const begin = performance.now();
  for (;;) {
    const seen = observer.look();
    const [nearest = []] = expected
      .map((sight) => difference(sight, seen))
      .sort((a, b) => a.length - b.length);
    // A process that resolves paths of the host ends after half a minute without requests.
    const patienceMs = nearest.every((line) => line.includes('portcullis-look-up')) ? lookUpMs : withinMs;
    if (nearest.length === 0 || performance.now() > begin + patienceMs) return nearest;
    await pause(100);
  }
}

/**
 * Adds and removes the daemon's first pod, then starts the daemon again. The data that this pod leaves
 * permanently (proofs are kept by content) is in both views: of a daemon that had a pod since its start, and
 * of a daemon that had none.
 */
export async function openScene(stage: Stage, observer: Observer): Promise<Scene> {
  const first = await startDaemon(stage);
  if (stage.traced) beginJournal(stage.root);
  // The very first start detects the capabilities of the runtime; if it supports user namespaces, half of the
  // pods have them.
  const { runtimeHandlers } = await first.cri.runtime.status({});
  stage.mapped = runtimeHandlers.some(
    ({ name, features }) => name === '' && features?.userNamespaces === true,
  );
  const it = newCase(stage, 'first', true);
  await acts[0]?.request(first.cri, it);
  await acts[0]?.prove(first.cri, it);
  observer.learnIds();
  await removeEverything(first.cri);
  const used = await steady(observer);
  await first.stop();
  const daemon = await startDaemon(stage);
  const fresh = await steady(observer);
  for (const sight of [used, fresh]) {
    const pools = sight.filter((line) => line === 'file d POOL').length;
    if (pools !== poolSize) throw new Error(`the pool holds ${pools} sets, not ${poolSize}`);
  }
  return { stage, observer, daemon, idle: [fresh, used] };
}

/**
 * Returns a view that has not changed for a while: the pool is full, and removals in the background are done.
 */
async function steady(observer: Observer): Promise<readonly string[]> {
  let [before, since] = [observer.look(), performance.now()];
  while (performance.now() - since < 400) {
    await pause(50);
    const now = observer.look();
    if (difference(before, now).length > 0) [before, since] = [now, performance.now()];
  }
  return before;
}

/** Returns how long each act takes from request to answer, in ms: the median of `rounds`. */
export async function measureActs(
  scene: Scene,
  chosen: readonly Act[],
  rounds: number,
): Promise<ReadonlyMap<Act, number>> {
  const { stage, daemon, observer, idle } = scene;
  const durations = new Map<Act, number>();
  for (const act of chosen) {
    const times: number[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const it = newCase(stage, `measure-${round}`, round % 2 === 0);
      await act.prepare(daemon.cri, it);
      const begin = performance.now();
      await act.request(daemon.cri, it);
      times.push(performance.now() - begin);
      await act.prove(daemon.cri, it);
      observer.learnIds();
      await removeEverything(daemon.cri);
    }
    durations.set(act, times.sort((a, b) => a - b)[rounds >> 1] ?? 1);
  }
  const left = await settle(observer, idle);
  if (left.length > 0) throw new Error(`without any kill the daemon leaves:\n${left.join('\n')}`);
  return durations;
}

/**
 * Kills the daemon `count` times, the acts in turn, each at a uniformly random moment within its measured
 * duration.
 */
export async function killDuringActs(
  scene: Scene,
  durations: ReadonlyMap<Act, number>,
  input: { readonly count: number; readonly random: () => number; readonly print: (line: string) => void },
): Promise<KillsReport> {
  const { random, print } = input;
  const report = { kills: 0, cut: 0, again: 0, failures: [] as string[] };
  const chosen = [...durations];
  for (let index = 0; index < input.count; index += 1) {
    const [act, duration] = chosen[index % chosen.length] as [Act, number];
    const atMs = random() * duration;
    // A quarter of the restarting daemons are killed once more during the start.
    const againAt = random() < 0.25 ? random() : undefined;
    const it = newCase(
      scene.stage,
      `kill-${index}`,
      random() < 0.5,
      random() < 0.5 ? 30_000 + index : undefined,
    );
    const title = `kill ${index}: ${act.name} at ${atMs.toFixed(1)} of ${duration.toFixed(1)} ms${againAt === undefined ? '' : `, and again at ${againAt.toFixed(2)} of its start`}`;
    report.kills += 1;
    if (againAt !== undefined) report.again += 1;
    try {
      const cut = await killOnce(scene, act, it, atMs, againAt);
      if (cut) report.cut += 1;
      const left = await settle(scene.observer, scene.idle);
      if (left.length > 0) throw new Error(`after removing all:\n  ${listed(left)}`);
      print(`${title}: ${cut ? 'cut short' : 'answered before'}, held`);
    } catch (thrown) {
      const failure = `${title}: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
      report.failures.push(failure);
      print(`FAILED ${failure}\n${endOfLog(scene.stage)}`);
      await startAgain(scene);
    }
  }
  return report;
}

/** Adds the leftovers of a failure to the expected view, so that each failure is reported once. */
export async function startAgain(scene: Scene): Promise<void> {
  await removeEverything(scene.daemon.cri);
  await scene.daemon.stop();
  Object.assign(scene, await openScene(scene.stage, scene.observer));
}

/** Returns whether the kill came before the answer. */
async function killOnce(
  scene: Scene,
  act: Act,
  it: Case,
  atMs: number,
  againAt: number | undefined,
): Promise<boolean> {
  const { stage, observer } = scene;
  const { cri, startedInMs } = scene.daemon;
  await act.prepare(cri, it);
  let answered = false;
  const begin = performance.now();
  const request = act.request(cri, it).then(
    () => (answered = true),
    () => undefined,
  );
  await untilMoment(begin + atMs);
  const cut = !answered;
  const isKilled = await scene.daemon.kill();
  await request;
  if (!isKilled) throw new Error(`the daemon had ended before the kill:\n${endOfLog(stage)}`);
  observer.learnIds();
  if (againAt !== undefined) {
    const starting = await spawnDaemon(stage);
    await untilMoment(performance.now() + againAt * startedInMs);
    if (!(await starting.kill())) throw new Error(`the starting daemon had ended:\n${endOfLog(stage)}`);
    observer.learnIds();
  }
  scene.daemon = await startDaemon(stage);
  await act.request(scene.daemon.cri, it);
  await act.prove(scene.daemon.cri, it);
  observer.learnIds();
  await removeEverything(scene.daemon.cri);
  return cut;
}

/**
 * Timers count whole milliseconds: the rest is waited for turn by turn of the event loop, so that the request
 * is sent meanwhile.
 */
export async function untilMoment(moment: number): Promise<void> {
  const left = moment - performance.now();
  if (left > 4) await pause(left - 3);
  while (performance.now() < moment) await turn();
}
