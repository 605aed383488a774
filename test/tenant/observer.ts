import { setTimeout as pause } from 'node:timers/promises';
import { ofPreparedMonitor } from '../fixtures/prepared-monitor.ts';
import { askAround, services, statuses } from './answers.ts';
import { lookAtFiles } from './files.ts';
import { lookAtKernel } from './kernel.ts';
import type { Scene } from './scene/scene.ts';

export type Snapshot = readonly string[];

/**
 * How long a deferred action of the kernel (a link that ends with its namespace) or of a file watcher may
 * take before it counts as a difference, in ms.
 */
const patience = 15_000;

/** Returns everything outside the tenant's pods, a line each. */
export async function look(scene: Scene): Promise<Snapshot> {
  const isOurs = (path: string): boolean =>
    path.includes(scene.stage.cgroupParent) || path.endsWith('/tenant-suite.slice');
  const [kernel, ...others] = await Promise.all([
    lookAtKernel(
      scene.stage.daemon.pid,
      Object.values(scene.askers).map(({ pid }) => pid),
      isOurs,
    ),
    askAround(scene),
    services(scene),
    statuses(scene),
  ]);
  // The kernel learns and forgets neighbours; only true entries may come and go.
  const known = new Set(Object.values(scene.victim).flatMap(({ neighbours }) => neighbours));
  const lines = [...kernel.filter((line) => !known.has(line)), ...others.flat(), ...lookAtFiles(scene)];
  const { state } = scene.stage.folders;
  const isPrepared = ofPreparedMonitor(state);
  return lines
    .filter((line) => !isPrepared(line))
    .map((line) =>
      // Two sets of the namespace pool give the same lines.
      line.replaceAll(new RegExp(`${state}/ns/[0-9a-f]{16}`, 'gu'), 'POOL'),
    );
}

export interface Difference {
  readonly what: 'more' | 'missing';
  readonly line: string;
}

/**
 * Returns the lines that only one of two snapshots has; a line that occurs twice in one and once in the other
 * is a difference too.
 */
export function differences(before: Snapshot, now: Snapshot): Difference[] {
  const count = new Map<string, number>();
  for (const line of now) count.set(line, (count.get(line) ?? 0) + 1);
  for (const line of before) count.set(line, (count.get(line) ?? 0) - 1);
  return [...count].flatMap(([line, surplus]) =>
    Array.from({ length: Math.abs(surplus) }, (): Difference => ({
      what: surplus > 0 ? 'more' : 'missing',
      line,
    })),
  );
}

/**
 * Returns the unexplained differences from `before` that last longer than the kernel takes to settle. A
 * missing line is never explained: a pod adds its own things, and removes nothing. Entries that come and go
 * by themselves are skipped.
 */
export async function changesSince(
  scene: Scene,
  before: Snapshot,
  isExplained: (line: string) => boolean = () => false,
  comesAndGoes: (line: string) => boolean = () => false,
  within = patience,
): Promise<Difference[]> {
  for (const until = performance.now() + within; ; await pause(50)) {
    const found = differences(before, await look(scene));
    const unexplained = found.filter(
      ({ what, line }) => !comesAndGoes(line) && (what === 'missing' || !isExplained(line)),
    );
    if (unexplained.length === 0 || performance.now() > until) return unexplained;
  }
}
