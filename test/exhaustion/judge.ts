import { setTimeout as pause } from 'node:timers/promises';
import type { Attack } from './attack.ts';
import { Samples } from './samples.ts';
import { gapsOf, sessionAnswers } from './scene.ts';
import type { Scene } from './scene.ts';
import { answerKinds, askUntil } from './victim.ts';

export interface Verdict {
  readonly lines: readonly string[];
  readonly failures: readonly string[];
}

/** The limit of the response time at the 99th percentile, in ms. */
export const limitMs = 100;
/**
 * How much more memory the daemon may use than before an attack: at the peak, and some seconds after the
 * attack. In MiB.
 */
const [peakMiB, restMiB] = [512, 192];
/** Additional descriptors that are allowed after the attack: connections of the measuring process. */
const spareDescriptors = 24;
/**
 * Events of a pod from run to removal: created, started, stopped and deleted, for the pod and for its
 * container.
 */
const eventsOfCycle = 8;

/** Measures the victim without the attack and under it. @param seconds the duration of each */
export async function judge(scene: Scene, attack: Attack, seconds: number): Promise<Verdict> {
  const { daemon } = scene.stage;
  const failures: string[] = [];
  const baseline = new Samples();
  const begin = performance.now();
  await askUntil(scene, baseline, () => performance.now() - begin > seconds * 500, 2_000);
  const before = daemon.usage();
  const samples = new Samples();
  let peak = before.residentMiB;
  let over = false;
  const running = await attack.start(scene);
  const started = performance.now();
  const watch = setInterval(
    () => (peak = Math.max(peak, daemon.isAlive() ? daemon.usage().residentMiB : 0)),
    200,
  );
  const cycles = await askUntil(
    scene,
    samples,
    () => over || (over = performance.now() - started > seconds * 1_000),
    4_000,
  );
  const reported = await running.end();
  clearInterval(watch);
  if (!daemon.isAlive()) return { lines: [], failures: ['the daemon has ended'] };
  failures.push(...reported.failures, ...slow(baseline, samples), ...(await lost(scene, cycles)));
  const rest = await settled(scene, before.descriptors);
  if (rest.descriptors > before.descriptors + spareDescriptors)
    failures.push(`${rest.descriptors} descriptors are open, ${before.descriptors} before`);
  if (peak > before.residentMiB + peakMiB)
    failures.push(`the daemon held ${peak.toFixed(0)} MiB, ${before.residentMiB.toFixed(0)} before`);
  if (rest.residentMiB > before.residentMiB + restMiB)
    failures.push(
      `the daemon keeps ${rest.residentMiB.toFixed(0)} MiB, ${before.residentMiB.toFixed(0)} before`,
    );
  const memory = `memory ${before.residentMiB.toFixed(0)}, at most ${peak.toFixed(0)}, then ${rest.residentMiB.toFixed(0)} MiB`;
  const descriptors = `descriptors ${before.descriptors}, then ${rest.descriptors}`;
  return { lines: [...reported.lines, `${memory}; ${descriptors}`, ...table(baseline, samples)], failures };
}

function slow(baseline: Samples, samples: Samples): string[] {
  // If the machine is slow because it runs other tests, the attack is not the cause.
  const machine = Math.max(...answerKinds.map((kind) => baseline.percentile(kind, 0.99) || 0));
  const allowed = Math.max(limitMs, 2 * machine);
  return samples.kinds().flatMap((kind) => {
    const failed = samples.failures(kind);
    const missing = failed.length === 0 ? [] : [`${kind}: ${failed.length} failed: ${failed[0]}`];
    const p99 = samples.percentile(kind, 0.99);
    const late = (answerKinds as readonly string[]).includes(kind) && !(p99 < allowed);
    return [
      ...missing,
      ...(late
        ? [`${kind}: ${p99.toFixed(0)} ms at the 99th percentile, ${allowed.toFixed(0)} allowed`]
        : []),
    ];
  });
}

async function lost(scene: Scene, cycles: readonly string[]): Promise<string[]> {
  await pause(300);
  const { gaps, lines } = gapsOf(scene.victim.log);
  const end = scene.eventsEnd();
  const few = end === undefined ? cycles.filter((id) => scene.eventsOf(id) < eventsOfCycle) : [];
  return [
    ...gaps,
    ...(lines === 0 ? ['the victim has no log'] : []),
    ...(end === undefined ? [] : [`the stream of events has ended: ${end}`]),
    ...few.map((id) => `${scene.eventsOf(id)} events of pod ${id.slice(0, 8)}, ${eventsOfCycle} expected`),
    ...((await sessionAnswers(scene.session)) ? [] : ['the session that existed before does not answer']),
  ];
}

async function settled({ stage }: Scene, descriptors: number) {
  for (let waited = 0; waited < 60_000; waited += 500) {
    if (stage.daemon.usage().descriptors <= descriptors + spareDescriptors) break;
    await pause(500);
  }
  await pause(3_000);
  return stage.daemon.usage();
}

function table(baseline: Samples, samples: Samples): string[] {
  const figures = (of: Samples, kind: string): string =>
    `n ${of.count(kind)}, p50 ${of.percentile(kind, 0.5).toFixed(1)}, p99 ${of.percentile(kind, 0.99).toFixed(1)} ms`;
  return samples
    .kinds()
    .map(
      (kind) =>
        `${kind.padEnd(32)} ${figures(baseline, kind).padEnd(38)} attacked: ${figures(samples, kind)}`,
    );
}
