/** One rule of Landlock: a file, or a folder and everything below it. */
export interface LandlockRule {
  /** Absolute and clean, without a trailing slash; `/` for the root. */
  readonly path: string;
  readonly kind: 'file' | 'folder';
  /** Sorted; not empty. */
  readonly access: readonly FileAccess[];
}

/**
 * read: open for reading, map (also as code), list a folder. write: change, create, remove, rename, link,
 * lock; not modes, owners and times, which the files' own permissions control. execute: execve. None of them
 * implies another.
 */
export type FileAccess = 'read' | 'write' | 'execute';

export type NetworkProtocol = 'icmp' | 'sctp' | 'tcp' | 'udp';

/** Peers and the protocol used with them. `icmp` with an IPv6 block is ICMPv6. */
export interface NetworkRule {
  /** The peer's addresses as CIDR, host bits zero, in canonical text: `10.0.0.0/8`, `2001:db8::/32`. */
  readonly cidr: string;
  readonly protocol: NetworkProtocol;
  /**
   * Egress: the peer's ports. Ingress: the container's own ports. Both ends included, 0…65535; 0…65535 for
   * icmp.
   */
  readonly ports: { readonly low: number; readonly high: number };
}

/** How far a workload's network reaches. Ordered by what it grants: none < user < proxy < admin < host. */
export type NetworkClass = 'none' | 'user' | 'proxy' | 'admin' | 'host';

export type Architecture = 'x86_64' | 'aarch64';

/** The name of a Linux capability without `CAP_`: `NET_ADMIN`. */
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

/** An absent direction is not restricted. An empty list allows no peer. */
export interface PeerRules {
  readonly egress?: readonly NetworkRule[];
  readonly ingress?: readonly NetworkRule[];
}

/** Limits of a container that its runtime enforces. */
export interface RuntimeBounds {
  /**
   * Limits of its cgroup: memory and swap (swap alone, without memory) in bytes, pids in tasks, cpu in
   * thousandths of a CPU.
   */
  readonly resources: {
    readonly cpu?: number;
    readonly memory?: number;
    readonly pids?: number;
    readonly swap?: number;
  };
  /** Namespaces that the container must not share with the host. */
  readonly ownNamespaces: readonly ('cgroup' | 'time' | 'user')[];
  readonly readonlyVolumes: boolean;
  /** No process starts as user 0 of the host. */
  readonly nonRoot: boolean;
}

/** The settings that the kernel gets, and everything that the OCI spec needs for confinement. */
export interface Settings {
  readonly capabilities: {
    readonly bounding: readonly Capability[];
    readonly effective: readonly Capability[];
    readonly permitted: readonly Capability[];
    readonly inheritable: readonly Capability[];
    readonly ambient: readonly Capability[];
  };
  /** Undefined: no filter (the profile grants every system call). */
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
  /** It may create cgroups below its own. */
  readonly writableCgroups: boolean;
  /**
   * Undefined: no AppArmor profile, or a kernel without AppArmor. It must be loaded before a process runs
   * under its name.
   */
  readonly apparmor?: { readonly name: string; readonly text: string };
  /**
   * Rules on files that a launcher sets up before the container's command. Undefined: none, or AppArmor
   * enforces them.
   */
  readonly landlock?: readonly LandlockRule[];
  /** Limits that the runtime that starts the container enforces itself. Undefined: no limits. */
  readonly bounds?: RuntimeBounds;
  /**
   * Peer rules that the network enforces for the pod. Undefined: none. A container on the host's network
   * cannot have any.
   */
  readonly peers?: PeerRules;
  /** Demands of the profile that this kernel or runtime cannot fulfil, one sentence each. */
  readonly degraded: readonly string[];
  /** sha256 of the canonical profile and target: equal digests mean equal settings. */
  readonly digest: string;
}
