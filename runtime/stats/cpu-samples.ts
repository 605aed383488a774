/** Milliseconds of a monotonic clock, and the CPU time until then. */
export interface CpuSample {
  readonly atMs: number;
  readonly usageNs: number;
}

/** Two samples closer than this are not accurate, because the kernel counts CPU time in ticks. */
const shortestMs = 100;

/** The two latest samples of each cgroup, by a name. The rate is computed from them. */
export interface CpuSamples {
  add(name: string, sample: CpuSample): void;
  /**
   * Returns the cores in use, times 10⁹, between the two latest samples, or between the only sample and
   * `now`. Undefined until there are two samples that are far enough apart.
   */
  nanoCores(name: string, now?: CpuSample): number | undefined;
  has(name: string): boolean;
  /** Forgets all other cgroups. */
  keep(names: ReadonlySet<string>): void;
}

export function createCpuSamples(): CpuSamples {
  const samples = new Map<string, readonly [CpuSample, CpuSample?]>();
  return {
    add: (name, sample) => {
      const latest = samples.get(name)?.[0];
      // If the counter fell, it belongs to another cgroup with the same name.
      if (latest === undefined || sample.usageNs < latest.usageNs) samples.set(name, [sample]);
      else if (sample.atMs - latest.atMs >= shortestMs) samples.set(name, [sample, latest]);
    },
    nanoCores: (name, now) => {
      const [latest, before] = samples.get(name) ?? [];
      if (latest === undefined) return undefined;
      return before === undefined ? rate(latest, now) : rate(before, latest);
    },
    has: (name) => samples.has(name),
    keep: (names) => {
      for (const name of samples.keys()) if (!names.has(name)) samples.delete(name);
    },
  };
}

function rate(from: CpuSample, to: CpuSample | undefined): number | undefined {
  if (to === undefined || to.atMs - from.atMs < shortestMs || to.usageNs < from.usageNs) return undefined;
  return Math.round(((to.usageNs - from.usageNs) / (to.atMs - from.atMs)) * 1000);
}
