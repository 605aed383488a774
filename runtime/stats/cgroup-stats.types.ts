import type { CgroupMounts } from '../oci/cgroups.ts';
import type { CgroupDetail, CgroupUsage } from './cgroup-reading.ts';

/** A container's or a pod's cgroup. */
export interface CgroupTarget {
  /** The container's or sandbox's id. */
  readonly id: string;
  /** From the root of the hierarchy. */
  readonly cgroup: string;
  /** First process, for what only /proc knows. */
  readonly pid?: number;
}

export interface WorkerSettings {
  readonly mounts: CgroupMounts;
  readonly sampleEveryMs: number;
}

/** `watch`: these are sampled from now on, and no others. The rest is answered, in order. */
export type ToWorker =
  | { readonly do: 'watch'; readonly targets: readonly CgroupTarget[] }
  | { readonly do: 'usage' | 'detail'; readonly sequence: number; readonly targets: readonly CgroupTarget[] };

/** One a target, in their order; undefined where there is no such cgroup. */
export type Answers = { usage: readonly (CgroupUsage | undefined)[]; detail: readonly (CgroupDetail | undefined)[] };

export interface FromWorker {
  readonly sequence: number;
  readonly answer: Answers[keyof Answers];
}
