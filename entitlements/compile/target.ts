import type { Architecture, Capability } from '../types.ts';
import type { KernelFeatures } from './kernel.ts';

/** Where a profile is to hold. */
export interface Target {
  readonly architecture: Architecture;
  /** The OCI runtime's name: `crun` and `runc` have measured base sets, any other gets both. */
  readonly runtime: string;
  readonly kernel: KernelFeatures;
  /** The daemon's own bounding set; undefined: all. What it lacks is not set, and is said. */
  readonly heldCapabilities?: readonly Capability[];
  /** What can not be enforced exactly is let through, and said. */
  readonly allowDegraded?: boolean;
}
