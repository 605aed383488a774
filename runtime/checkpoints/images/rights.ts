/** What one thread of a checkpoint may do after a restore, as its images say. */
export interface ThreadRights {
  readonly pid: number;
  /** Undefined: the first thread of its process. */
  readonly tid: number | undefined;
  readonly comm: string;
  /** Real, effective, saved, of the file system. */
  readonly uids: readonly number[];
  readonly gids: readonly number[];
  readonly groups: readonly number[];
  /** Bits by capability number. */
  readonly capabilities: Readonly<Record<CapabilitySet, bigint>>;
  readonly noNewPrivileges: boolean;
  readonly secureBits: number;
  /** The label of AppArmor or SELinux. Undefined: none. */
  readonly label: string | undefined;
  /** Filters of system calls, the oldest first. Undefined: none is in force. */
  readonly filters: readonly Uint8Array[] | undefined;
  /** Whether the thread runs in the strict mode of seccomp. */
  readonly strictCalls: boolean;
  /** Negative: higher priority than others. */
  readonly nice: number;
  /** SCHED_* of sched(7). */
  readonly policy: number;
}

/** What one process may do, beside its threads. */
export interface ProcessRights {
  readonly pid: number;
  readonly comm: string;
  /** Hard limits, by the number of the resource (getrlimit(2)). */
  readonly limits: readonly bigint[];
  readonly oomScoreAdj: number;
  /** The numbers that the images give to its namespaces. */
  readonly namespaces: Readonly<Record<NamespaceKind, number | undefined>>;
  /** Ids of its open files, with its working folder and root. */
  readonly files: readonly number[];
}

/** A file, pipe or other object that a descriptor refers to. */
export interface FileRights {
  readonly id: number;
  /** Undefined: a kind of file that is not read, which `kind` names. */
  readonly regular:
    | { readonly name: string; readonly mode: number; readonly writable: boolean; readonly external: boolean }
    | undefined;
  readonly kind: string;
}

export interface MountRights {
  readonly mountpoint: string;
  /** Bound from outside, and the key by which the runtime gives it. */
  readonly external: string | undefined;
  readonly readOnly: boolean;
}

/** Everything that the images of a checkpoint say about rights. */
export interface Rights {
  readonly threads: readonly ThreadRights[];
  readonly processes: readonly ProcessRights[];
  readonly files: readonly FileRights[];
  readonly mounts: readonly MountRights[];
  /** The namespaces of criu itself: those of the node. */
  readonly ofNode: Readonly<Record<NamespaceKind, number | undefined>>;
  /** Images of kinds that are not read: what they grant is not known. */
  readonly unread: readonly string[];
}

export type CapabilitySet = 'inheritable' | 'permitted' | 'effective' | 'bounding' | 'ambient';
export const namespaceKinds = ['pid', 'net', 'ipc', 'uts', 'mnt', 'user', 'cgroup', 'time'] as const;
export type NamespaceKind = (typeof namespaceKinds)[number];
