/** Milliseconds of a monotonic clock, and the CPU time until then. */
export interface CpuSample {
  readonly atMs: number;
  readonly usageNs: number;
}

/** Two samples closer than this are not accurate, because the kernel counts CPU time in ticks. */
const shortestMs = 100;

/**
 * The time that a rate covers, once a cgroup is that old: the interval at which a kubelet's cAdvisor, and its
 * eviction manager without cAdvisor, measure. In a shorter time, a program that works in bursts seems idle or
 * busy by chance.
 */
const windowMs = 10_000;

/** Samples of each cgroup, by a name, as far back as rates need them. */
export interface CpuSamples {
  add(name: string, sample: CpuSample): void;
  /**
   * Returns the cores in use, times 10⁹, in the 10 seconds before `now` or somewhat longer, or since the
   * first sample. Undefined while that is too short for a rate.
   */
  nanoCores(name: string, now: CpuSample): number | undefined;
  has(name: string): boolean;
  /** Forgets all other cgroups. */
  keep(names: ReadonlySet<string>): void;
}

export function createCpuSamples(): CpuSamples {
  /** Oldest first: at most one is older than the window, and any two are apart. Never empty. */
  const samples = new Map<string, readonly CpuSample[]>();
  return {
    add: (name, sample) => {
      const known = samples.get(name);
      const latest = known?.at(-1);
      // If the counter fell, it belongs to another cgroup with the same name.
      if (known === undefined || latest === undefined || sample.usageNs < latest.usageNs)
        samples.set(name, [sample]);
      else if (sample.atMs - latest.atMs >= shortestMs)
        samples.set(name, [...known.slice(firstOf(known, sample.atMs)), sample]);
    },
    nanoCores: (name, now) => {
      const known = samples.get(name) ?? [];
      return rate(known[firstOf(known, now.atMs)], now);
    },
    has: (name) => samples.has(name),
    keep: (names) => {
      for (const name of samples.keys()) if (!names.has(name)) samples.delete(name);
    },
  };
}

/** Returns the index of the sample from which a rate counts: the last one before the window, or the first. */
function firstOf(samples: readonly CpuSample[], atMs: number): number {
  return Math.max(
    0,
    samples.findLastIndex((sample) => atMs - sample.atMs >= windowMs),
  );
}

function rate(from: CpuSample | undefined, to: CpuSample): number | undefined {
  if (from === undefined || to.atMs - from.atMs < shortestMs || to.usageNs < from.usageNs) return undefined;
  return Math.round(((to.usageNs - from.usageNs) / (to.atMs - from.atMs)) * 1000);
}
