import type { Capability, FileAccess, NetworkClass, NetworkRule } from '../types.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';

/** Files of the host that stay hidden or read-only. Each path means itself and everything below it. */
export interface PathRestrictions {
  /** Sorted; no path is below another. */
  readonly masked: readonly string[];
  /** Sorted; no path is below another or below a masked one. */
  readonly readonly: readonly string[];
}

/** One type of access to a set of devices. `major` or `minor` undefined means any. */
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

/**
 * Resources that a container's cgroup may limit: memory and swap in bytes (swap counts alone, without
 * memory), pids in tasks, cpu in thousandths of a CPU.
 */
export type ResourceName = 'cpu' | 'memory' | 'pids' | 'swap';

/** Namespaces of the host that a container shares only if it asks for them. */
export type HostNamespace = 'network' | 'pid' | 'ipc';

/** Namespaces that a container shares with the host unless it asks for its own. */
export type OwnNamespace = 'cgroup' | 'time' | 'user';

/**
 * A set of paths, as the container sees them: `*` any characters but `/`, `**` any characters, `?` one but
 * `/`, `[…]` and `[^…]` one of a class (never `/`), `{a,b}` alternatives; a backslash takes the meaning from
 * the next character. Folders end in `/`. The syntax follows apparmor.d(5), "Globbing", with one difference:
 * a star may match nothing everywhere, so `/app/**` includes the folder `/app/`.
 */
export type PathPattern = string;

export interface FileRule {
  readonly pattern: PathPattern;
  /** Sorted; not empty. */
  readonly access: readonly FileAccess[];
}

/**
 * An access is granted if a rule under `allow` has it and no rule under `deny` does. The order does not
 * matter.
 */
export interface FileRules {
  readonly allow: readonly FileRule[];
  readonly deny: readonly FileRule[];
}

/**
 * A mount that a process of the container may create itself, as far as its capabilities and system calls
 * allow it.
 */
export interface MountRule {
  /** A type as in /proc/filesystems; `*`: any type, including bind mounts and moves. */
  readonly fstype: string;
  /** The mount point. */
  readonly target: PathPattern;
  /** Whether the mount must be read-only. */
  readonly readonly: boolean;
}

/**
 * The rights of a workload: one point of a lattice, which is a product of the dimensions below. `a` grants no
 * more than `b` if it grants no more in each dimension. An absent optional dimension restricts nothing.
 */
export interface Profile {
  /** The bounding set, sorted. */
  readonly capabilities: readonly Capability[];
  /** Capabilities that survive an exec by a user other than root; a subset of `capabilities`. */
  readonly ambient: readonly Capability[];
  readonly syscalls: SyscallPolicy;
  /** True: set-user-id programs and file capabilities have no effect (prctl(2), PR_SET_NO_NEW_PRIVS). */
  readonly noNewPrivileges: boolean;
  readonly paths: PathRestrictions;
  readonly devices: readonly DeviceGrant[];
  /** Whether all devices of the host appear in the container. */
  readonly hostDevices: boolean;
  /**
   * Whether paths of the host may be mounted as volumes, beyond those that the node's agent keeps for the pod
   * itself.
   */
  readonly hostPaths: boolean;
  /**
   * Whether ports of the host may lead to its pod: host ports, and ingress ports of services that it joins.
   */
  readonly hostPorts: boolean;
  /** Sorted. */
  readonly hostNamespaces: readonly HostNamespace[];
  /** Sorted: namespaces that must be the container's own. */
  readonly ownNamespaces: readonly OwnNamespace[];
  /** Volumes are mounted read-only, regardless of the pod's request. */
  readonly readonlyVolumes: boolean;
  /** No process starts as user 0 of the host; user 0 of a user namespace is allowed. */
  readonly nonRoot: boolean;
  readonly network: NetworkClass;
  /**
   * Peers that it may connect or send to, within its class; an empty list: no peer. Replies to incoming
   * traffic do not count.
   */
  readonly egress?: readonly NetworkRule[];
  /** Peers that may connect or send to it, within its class; an empty list: no peer. */
  readonly ingress?: readonly NetworkRule[];
  /**
   * Files of the container, in addition to `paths` and the files' own modes. An access is granted if one of
   * the members grants it: a document gives one member, a join several. An empty list grants none.
   */
  readonly files?: readonly FileRules[];
  /** Mounts that it may create; an empty list: none. */
  readonly mounts?: readonly MountRule[];
  /** An absent limit is unlimited. */
  readonly limits: Readonly<Partial<Record<LimitName, Limit>>>;
  /** Limits of its cgroup. An absent one is unlimited. */
  readonly resources: Readonly<Partial<Record<ResourceName, bigint>>>;
  /** Sysctls that a pod may set: those that Kubernetes calls safe, or any namespaced one. */
  readonly sysctls: 'safe' | 'any';
  /** Whether `/sys` and the cgroup file system are writable. */
  readonly writableSys: boolean;
  /**
   * Whether it may create cgroups below its own and set limits in them, in a cgroup namespace. Always true
   * with `writableSys`.
   */
  readonly writableCgroups: boolean;
  readonly readonlyRootfs: boolean;
  /**
   * Additional AppArmor rules: Portcullis's own (files of the kernel, mounts, signals), or none. No effect if
   * the kernel has no AppArmor.
   */
  readonly apparmor: 'default' | 'unconfined';
}
