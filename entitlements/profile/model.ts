import type { Capability, FileAccess, NetworkClass, NetworkRule } from '../types.ts';
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

/** The rlimits of getrlimit(2), by their OCI names without `RLIMIT_`. */
export type LimitName =
  | 'AS'
  | 'CORE'
  | 'CPU'
  | 'DATA'
  | 'FSIZE'
  | 'LOCKS'
  | 'MEMLOCK'
  | 'MSGQUEUE'
  | 'NICE'
  | 'NOFILE'
  | 'NPROC'
  | 'RSS'
  | 'RTPRIO'
  | 'RTTIME'
  | 'SIGPENDING'
  | 'STACK';

export interface Limit {
  readonly soft: bigint;
  readonly hard: bigint;
}

/** What a container's cgroup may bound: memory and swap in bytes (swap counts alone, without the memory), pids in tasks, cpu in thousandths of a CPU. */
export type ResourceName = 'cpu' | 'memory' | 'pids' | 'swap';

/** Namespaces of the host that a container has only when it asks. */
export type HostNamespace = 'network' | 'pid' | 'ipc';

/** Namespaces that a container shares with the host unless it asks for its own. */
export type OwnNamespace = 'cgroup' | 'time' | 'user';

/**
 * A set of paths, as the container sees them: `*` any characters but `/`, `**` any characters, `?` one but `/`, `[…]` and `[^…]` one of
 * a class (never `/`), `{a,b}` alternatives; a backslash takes the meaning from the next character. Folders end in `/`. As in
 * apparmor.d(5), "Globbing", but that a star may stand for nothing everywhere: `/app/**` is the folder `/app/` too.
 */
export type PathPattern = string;

export interface FileRule {
  readonly pattern: PathPattern;
  /** Sorted; not empty. */
  readonly access: readonly FileAccess[];
}

/** An access is granted when a rule under `allow` has it and none under `deny` does; order does not matter. */
export interface FileRules {
  readonly allow: readonly FileRule[];
  readonly deny: readonly FileRule[];
}

/** A mount that a process of the container may make itself, as far as its capabilities and system calls let it. */
export interface MountRule {
  /** As in /proc/filesystems; `*`: any, bind mounts and moves too. */
  readonly fstype: string;
  /** Where it is mounted on. */
  readonly target: PathPattern;
  /** Only read-only. */
  readonly readonly: boolean;
}

/**
 * What a workload may do: one point of a lattice, a product of the dimensions below. `a` grants no more than `b` when it grants no
 * more in each. A dimension that is optional restricts nothing when it is absent.
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
  /** Ports of the host lead to its pod: host ports, and ingress ports of services that it joins. */
  readonly hostPorts: boolean;
  /** Sorted. */
  readonly hostNamespaces: readonly HostNamespace[];
  /** Sorted: those it must have of its own. */
  readonly ownNamespaces: readonly OwnNamespace[];
  /** Volumes are mounted read-only, whatever the pod says. */
  readonly readonlyVolumes: boolean;
  /** No process is started as user 0 of the host: user 0 of a user namespace is none. */
  readonly nonRoot: boolean;
  readonly network: NetworkClass;
  /** Whom it may connect or send to, within its class; an empty list: nobody. Answers to what came in are not counted. */
  readonly egress?: readonly NetworkRule[];
  /** Who may connect or send to it, within its class; an empty list: nobody. */
  readonly ingress?: readonly NetworkRule[];
  /**
   * Files of the container, beside `paths` and the files' own modes. An access is granted when one of the members grants it: a document
   * gives one member, a join several; an empty list grants none.
   */
  readonly files?: readonly FileRules[];
  /** Mounts it may make; an empty list: none. */
  readonly mounts?: readonly MountRule[];
  /** A limit that is absent is not bounded. */
  readonly limits: Readonly<Partial<Record<LimitName, Limit>>>;
  /** Bounds of its cgroup; one that is absent is not bounded. */
  readonly resources: Readonly<Partial<Record<ResourceName, bigint>>>;
  /** Sysctls a pod may set: those that Kubernetes calls safe, or any namespaced one. */
  readonly sysctls: 'safe' | 'any';
  /** `/sys` and the cgroup file system may be written. */
  readonly writableSys: boolean;
  readonly readonlyRootfs: boolean;
  /** AppArmor rules beside the rest: this room's own (files of the kernel, mounts, signals), or none. Nothing where the kernel has no AppArmor. */
  readonly apparmor: 'default' | 'unconfined';
}
