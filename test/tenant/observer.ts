import { setTimeout as pause } from 'node:timers/promises';
import { askAround, services, statuses } from './answers.ts';
import { lookAtFiles } from './files.ts';
import { lookAtKernel } from './kernel.ts';
import type { Scene } from './scene.ts';

export type Snapshot = readonly string[];

/** How long what the kernel does later (a link that ends with its namespace, a file that a watcher reads) may take before it is a difference, in ms. */
const patience = 15_000;

/** Everything outside the tenant's pods, a line each. */
export async function look(scene: Scene): Promise<Snapshot> {
  const isOurs = (path: string): boolean => path.includes(scene.stage.cgroupParent) || path.endsWith('/tenant-suite.slice');
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
  // The kernel remembers and forgets who its neighbours are; only what is true comes and goes unseen.
  const known = new Set(Object.values(scene.victim).flatMap(({ neighbours }) => neighbours));
  const lines = [...kernel.filter((line) => !known.has(line)), ...others.flat(), ...lookAtFiles(scene)];
  return lines.map((line) =>
    // Two sets of the namespace pool read the same.
    line.replaceAll(new RegExp(`${scene.stage.folders.state}/ns/[0-9a-f]{16}`, 'gu'), 'POOL'),
  );
}

export interface Difference {
  readonly what: 'more' | 'missing';
  readonly line: string;
}

/** Lines that only one of two looks has; one that stands there twice and here once is a difference too. */
export function differences(before: Snapshot, now: Snapshot): Difference[] {
  const count = new Map<string, number>();
  for (const line of now) count.set(line, (count.get(line) ?? 0) + 1);
  for (const line of before) count.set(line, (count.get(line) ?? 0) - 1);
  return [...count].flatMap(([line, surplus]) =>
    Array.from({ length: Math.abs(surplus) }, (): Difference => ({ what: surplus > 0 ? 'more' : 'missing', line })),
  );
}

/**
 * What differs from `before` for longer than the kernel takes to settle, without what is explained. A line that is missing is never explained: a pod adds
 * things of its own, and takes nothing away. What comes and goes by itself is passed over.
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
    const unexplained = found.filter(({ what, line }) => !comesAndGoes(line) && (what === 'missing' || !isExplained(line)));
    if (unexplained.length === 0 || performance.now() > until) return unexplained;
  }
}
