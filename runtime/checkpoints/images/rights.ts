/** The rights of one thread of a checkpoint after a restore, according to its images. */
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
  /** Seccomp filters, the oldest first. Undefined: no filter is in force. */
  readonly filters: readonly Uint8Array[] | undefined;
  /** Whether the thread runs in the strict mode of seccomp. */
  readonly strictCalls: boolean;
  /** Negative: higher priority than others. */
  readonly nice: number;
  /** SCHED_* of sched(7). */
  readonly policy: number;
}

/** The rights of one process, besides the rights of its threads. */
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
  /** Undefined: a kind of file that is not supported; `kind` names it. */
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

/** All rights in the images of a checkpoint. */
export interface Rights {
  readonly threads: readonly ThreadRights[];
  readonly processes: readonly ProcessRights[];
  readonly files: readonly FileRights[];
  readonly mounts: readonly MountRights[];
  /** The namespaces of criu itself, which are the namespaces of the node. */
  readonly ofNode: Readonly<Record<NamespaceKind, number | undefined>>;
  /** Images of unsupported kinds. It is not known which rights they grant. */
  readonly unread: readonly string[];
}

export type CapabilitySet = 'inheritable' | 'permitted' | 'effective' | 'bounding' | 'ambient';
export const namespaceKinds = ['pid', 'net', 'ipc', 'uts', 'mnt', 'user', 'cgroup', 'time'] as const;
export type NamespaceKind = (typeof namespaceKinds)[number];
