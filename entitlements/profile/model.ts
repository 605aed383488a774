import type { Capability, NetworkClass } from '../types.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';

/** Files of the host that stay hidden or unwritable. Each path stands for itself and all below it. */
export interface PathRestrictions {
  /** Sorted; none below another. */
  readonly masked: readonly string[];
  /** Sorted; none below another or below a masked one. */
  readonly readonly: readonly string[];
}

/** One kind of access to a set of devices: `major` or `minor` undefined means any. */
export interface DeviceGrant {
  readonly access: 'r' | 'w' | 'm';
  readonly type: 'b' | 'c';
  readonly major?: number;
  readonly minor?: number;
}

/** The rlimits a profile can bound, by their OCI names without `RLIMIT_`. */
export type LimitName = 'MEMLOCK' | 'NOFILE' | 'NPROC' | 'CORE';

export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

export type HostNamespace = 'network' | 'pid' | 'ipc';

/**
 * What a workload may do: one point of a lattice, a product of the dimensions below. `a` grants no more than `b` when it grants no
 * more in each. Made by {@link profileOf}, so that equal meanings are equal values.
 */
export interface Profile {
  /** The bounding set, sorted. */
  readonly capabilities: readonly Capability[];
  /** Those that survive an exec by a user other than root; a subset of `capabilities`. */
  readonly ambient: readonly Capability[];
  readonly syscalls: SyscallPolicy;
  /** True: set-user-id programs and file capabilities give nothing (prctl(2), PR_SET_NO_NEW_PRIVS). */
  readonly noNewPrivileges: boolean;
  readonly paths: PathRestrictions;
  readonly devices: readonly DeviceGrant[];
  /** All devices of the host appear in the container. */
  readonly hostDevices: boolean;
  /** Paths of the host, beyond what the node's agent keeps for the pod itself, may be mounted as volumes. */
  readonly hostPaths: boolean;
  readonly hostNamespaces: readonly HostNamespace[];
  readonly network: NetworkClass;
  /** A limit that is absent is not bounded. */
  readonly limits: Readonly<Partial<Record<LimitName, Limit>>>;
  /** Sysctls a pod may set: those that Kubernetes calls safe, or any namespaced one. */
  readonly sysctls: 'safe' | 'any';
  /** `/sys` and the cgroup file system may be written. */
  readonly writableSys: boolean;
  readonly readonlyRootfs: boolean;
  /** AppArmor rules beside the rest: this room's own (files of the kernel, mounts, signals), or none. Nothing where the kernel has no AppArmor. */
  readonly apparmor: 'default' | 'unconfined';
}
