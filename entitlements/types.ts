/** One rule of Landlock: a file, or a folder and all below it. */
export interface LandlockRule {
  /** Absolute and clean, without a trailing slash; `/` for the root. */
  readonly path: string;
  readonly kind: 'file' | 'folder';
  /** Sorted; not empty. */
  readonly access: readonly FileAccess[];
}

/**
 * read: open for reading, map (as code too), list a folder. write: change, create, remove, rename, link, lock; not modes, owners and
 * times, which are the files' own. execute: execve. None of them implies another.
 */
export type FileAccess = 'read' | 'write' | 'execute';

export type NetworkProtocol = 'icmp' | 'sctp' | 'tcp' | 'udp';

/** Peers and what is spoken with them. `icmp` with an IPv6 block is ICMPv6. */
export interface NetworkRule {
  /** The peer's addresses as CIDR, host bits zero, in canonical text: `10.0.0.0/8`, `2001:db8::/32`. */
  readonly cidr: string;
  readonly protocol: NetworkProtocol;
  /** Egress: the peer's ports. Ingress: the container's own. Both ends included, 0…65535; 0…65535 for icmp. */
  readonly ports: { readonly low: number; readonly high: number };
}

/** How far a workload's network reaches. Ordered by what is granted: none < user < proxy < admin < host. */
export type NetworkClass = 'none' | 'user' | 'proxy' | 'admin' | 'host';

export type Architecture = 'x86_64' | 'aarch64';

/** A Linux capability's name without `CAP_`: `NET_ADMIN`. */
export type Capability = string;

/** An OCI seccomp object (runtime-spec, config-linux.md#seccomp). */
export interface OciSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly flags?: readonly string[];
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: string;
    readonly errnoRet?: number;
    readonly args?: readonly {
      readonly index: number;
      readonly value: number | bigint;
      readonly valueTwo?: number | bigint;
      readonly op: string;
    }[];
  }[];
}

/** One device rule of the cgroup's device list (runtime-spec, config-linux.md#allowed-device-list). */
export interface DeviceRule {
  readonly allow: boolean;
  readonly type: 'a' | 'b' | 'c';
  readonly major?: number;
  readonly minor?: number;
  readonly access: string;
}

/** Bounds of a container that its runtime holds. */
/** A direction that is absent is not restricted; an empty list: nobody. */
export interface PeerRules {
  readonly egress?: readonly NetworkRule[];
  readonly ingress?: readonly NetworkRule[];
}

export interface RuntimeBounds {
  /** Of its cgroup: memory and swap (alone, without the memory) in bytes, pids in tasks, cpu in thousandths of one. */
  readonly resources: { readonly cpu?: number; readonly memory?: number; readonly pids?: number; readonly swap?: number };
  /** Namespaces that it must not share with the host. */
  readonly ownNamespaces: readonly ('cgroup' | 'time' | 'user')[];
  readonly readonlyVolumes: boolean;
  /** No process is started as user 0 of the host. */
  readonly nonRoot: boolean;
}

/** What the kernel is told; everything the OCI spec needs for confinement. */
export interface Settings {
  readonly capabilities: {
    readonly bounding: readonly Capability[];
    readonly effective: readonly Capability[];
    readonly permitted: readonly Capability[];
    readonly inheritable: readonly Capability[];
    readonly ambient: readonly Capability[];
  };
  /** Undefined: no filter (a profile that grants every system call). */
  readonly seccomp?: {
    /** `struct sock_filter[]`, little-endian, ready to load. */
    readonly bpf: Uint8Array;
    readonly oci: OciSeccomp;
  };
  readonly noNewPrivileges: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  readonly devices: readonly DeviceRule[];
  /** All host devices appear in the container. */
  readonly hostDevices: boolean;
  readonly rlimits: readonly { readonly type: string; readonly soft: bigint; readonly hard: bigint }[];
  /** Namespaces of the host that the container may share. */
  readonly hostNamespaces: readonly ('network' | 'pid' | 'ipc')[];
  readonly networkClass: NetworkClass;
  readonly readonlyRootfs: boolean;
  readonly writableSys: boolean;
  /** Undefined: no profile, or a kernel without AppArmor. To be loaded before a process carries its name. */
  readonly apparmor?: { readonly name: string; readonly text: string };
  /** Rules on files that a launcher sets up before the container's command; undefined: none, or AppArmor holds them. */
  readonly landlock?: readonly LandlockRule[];
  /** What the runtime that starts the container holds itself; undefined: nothing is bounded. */
  readonly bounds?: RuntimeBounds;
  /** Rules of peers, which the network holds for the pod; undefined: none. A container of the host's network can have none. */
  readonly peers?: PeerRules;
  /** What the profile demands and this kernel or runtime can not do, each a sentence. */
  readonly degraded: readonly string[];
  /** sha256 of the canonical profile and target: equal digests are equal settings. */
  readonly digest: string;
}
