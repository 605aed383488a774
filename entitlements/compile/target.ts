import type { Architecture, Capability } from '../types.ts';
import type { KernelFeatures } from './kernel.ts';

/** The environment in which a profile is enforced. */
export interface Target {
  readonly architecture: Architecture;
  /** The OCI runtime's name: `crun` and `runc` have measured base sets; any other gets both sets. */
  readonly runtime: string;
  readonly kernel: KernelFeatures;
  /**
   * The daemon's own bounding set; undefined: all. A capability that it lacks is not set, and that is
   * reported.
   */
  readonly heldCapabilities?: readonly Capability[];
  /** Accepts restrictions that cannot be enforced exactly, and reports them. */
  readonly allowDegraded?: boolean;
}
