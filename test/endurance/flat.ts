import { largest } from '../../base/lists/index.ts';

/** One sample of a daemon without open requests. */
export interface Sample {
  readonly minute: number;
  /** Resident memory of the daemon, in MiB. */
  readonly residentMiB: number;
  readonly descriptors: number;
  readonly threads: number;
  /**
   * The state outside of it: mounts, namespaces, links, rules, cgroups, processes, files, rows; one line
   * each.
   */
  readonly outside: readonly string[];
}

/**
 * The factor by which the memory of the last quarter may exceed that of the first: Node's own garbage
 * collection varies by this much between samples.
 */
const memoryShare = 1.1;
const memoryMiB = 24;

/**
 * Compares the last quarter of the samples with the first.
 * @returns a sentence for each value that grew; none: all values are flat
 * @throws Error for fewer than four samples, which have no quarters
 */
export function growthOf(samples: readonly Sample[]): readonly string[] {
  const size = Math.floor(samples.length / 4);
  if (size === 0) throw new Error(`${samples.length} samples have no quarters: let it run longer`);
  const [first, last] = [samples.slice(0, size), samples.slice(-size)];
  const median = (part: readonly number[]): number => [...part].sort((a, b) => a - b)[part.length >> 1] ?? 0;
  const found: string[] = [];
  const memory = (part: readonly Sample[]): number => median(part.map(({ residentMiB }) => residentMiB));
  const [before, after] = [memory(first), memory(last)];
  if (after > Math.max(before * memoryShare, before + memoryMiB))
    found.push(
      `resident memory, MiB: ${before.toFixed(0)} in the first quarter, ${after.toFixed(0)} in the last`,
    );
  // Both vary with the namespaces and the threads that are kept ready: a leak exceeds their maximum.
  for (const what of ['descriptors', 'threads'] as const) {
    const most = largest(first.map((sample) => sample[what]));
    const now = median(last.map((sample) => sample[what]));
    if (now > most) found.push(`${what}: at most ${most} in the first quarter, ${now} in the last`);
  }
  for (const line of newLines(first[0]?.outside ?? [], samples.at(-1)?.outside ?? []))
    found.push(`left behind: ${line}`);
  return found;
}

/** Returns the lines of `after` that `before` does not have, or not as often. */
function newLines(before: readonly string[], after: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const line of before) counts.set(line, (counts.get(line) ?? 0) + 1);
  return after.filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}
