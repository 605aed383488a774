import type { CgroupMounts } from '../cgroups/cgroups.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';

/** A container's or a pod's cgroup. */
export interface CgroupTarget {
  /** The container's or sandbox's id. */
  readonly id: string;
  /** Relative to the root of the hierarchy. */
  readonly cgroup: string;
  /** The first process, for values that only /proc has. */
  readonly pid?: number;
  /** The container has ended: only the count of its out-of-memory kills still matters. */
  readonly hasEnded?: true;
}

export interface WorkerSettings {
  readonly mounts: CgroupMounts;
  readonly sampleEveryMs: number;
}

/** `watch`: from now on exactly these cgroups are sampled. The other messages are answered, in order. */
export type ToWorker =
  | { readonly do: 'watch'; readonly targets: readonly CgroupTarget[] }
  | { readonly do: 'usage' | 'detail'; readonly sequence: number; readonly targets: readonly CgroupTarget[] };

/** One result per target, in the same order; undefined where the cgroup does not exist. */
export type Answers = {
  usage: readonly (CgroupUsage | undefined)[];
  detail: readonly (CgroupDetail | undefined)[];
};

export interface FromWorker {
  readonly sequence: number;
  readonly answer: Answers[keyof Answers];
}
