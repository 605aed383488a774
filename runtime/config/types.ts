import type { LogLevel } from '../../base/log/index.ts';

/** One of the mirrors of a prefix. */
export interface PrefixMirrorConfig {
  /** As in {@link MirrorConfig}: host and path replace the prefix. */
  readonly url: string;
  /** False: the mirror serves content by digest, and never resolves a tag. Default: true. */
  readonly tags?: boolean;
  /** File with the mirror's own credentials, in the format of `docker login`. */
  readonly authFile?: string;
}

/** The rules for images whose name begins with a prefix. */
export interface PrefixConfig {
  readonly blocked: boolean;
  /** In the order in which they are asked. */
  readonly mirrors: readonly PrefixMirrorConfig[];
  /** False: the registry itself is never contacted. */
  readonly origin: boolean;
}

/** Certificate files of one host. */
export interface HostTlsConfig {
  /** Authorities. */
  readonly ca: readonly string[];
  /** The client certificate and its key: both or none. */
  readonly cert?: string;
  readonly key?: string;
}

/** The only mirror of one registry host. */
export interface MirrorConfig {
  /**
   * `https://HOST[:PORT][/PREFIX]`, or `http://…`: a mirror with `http://` may be contacted over plain HTTP.
   */
  readonly url: string;
  /** False: the origin is never contacted, not even when the mirror lacks content. */
  readonly origin: boolean;
  /** File with the mirror's own credentials, in the format of `docker login`. */
  readonly authFile?: string;
}

/** A runtime handler. */
export interface RuntimeConfig {
  readonly path: string;
  /** `oci`: the program is an OCI runtime (default). `shim`: it is a shim of containerd's runtime v2. */
  readonly type?: 'oci' | 'shim';
  /** The OCI runtime that a shim runs. */
  readonly runtimePath?: string;
  /** The configuration file of a shim. */
  readonly configPath?: string;
  /** Containers get writable cgroups where a ceiling grants them. */
  readonly writableCgroups?: boolean;
}

/** The cluster whose objects the node follows, and to which it reports. */
export interface ClusterConfig {
  /** Absent: the cluster of `network.kubernetes`, or the service account of the pod. */
  readonly kubeconfig?: string;
  readonly servers: readonly string[];
  /** Absent: that of `network.kubernetes`, or the name of the machine. */
  readonly nodeName?: string;
  /** The policy is in objects of the cluster. */
  readonly policies: boolean;
  /** The folder of files that these objects name. */
  readonly policyFiles?: string;
  readonly policyStatus: boolean;
  readonly reports: boolean;
}

/** The effective configuration of the daemon: file, flags and defaults merged, all paths absolute. */
export interface DaemonConfig {
  readonly socket: string;
  /** Users that may connect besides uid 0. The socket file belongs to the first gid. */
  readonly peers: { readonly uids: readonly number[]; readonly gids: readonly number[] };
  /** Persistent state: images, evidence, database. */
  readonly root: string;
  /** State that ends with the boot: pinned namespaces, bundles, mounts. */
  readonly state: string;
  /** Files and folders with trust policies and profiles. Empty: all new images and containers are denied. */
  readonly policy: readonly string[];
  /** Absent: the policy is in the files of `policy`. */
  readonly policySubscription?: PolicySubscriptionConfig;
  /** Absent: the node follows no objects of a cluster for its policy, and reports to no cluster. */
  readonly cluster?: ClusterConfig;
  readonly cni: {
    readonly confDir: string;
    readonly binDirs: readonly string[];
    /** The socket at which our plugins reach the daemon. Absent: `cni.sock` in `state`. */
    readonly socket?: string;
  };
  readonly network: {
    readonly policies: string;
    /** Absent: the node follows no cluster's NetworkPolicies. */
    readonly kubernetes?: {
      /** Absent: the service account of the pod. */
      readonly kubeconfig?: string;
      readonly servers: readonly string[];
      /** Absent: the name of the machine. */
      readonly nodeName?: string;
      readonly policies: boolean;
      /** Absent: names of the cluster are not answered. */
      readonly dns?: {
        readonly address: string;
        readonly domain: string;
        readonly podNames: boolean;
      };
    };
    /** `auto`: our own plugins run inside the daemon. `exec`: every chain runs the plugins' programs. */
    readonly plugins: 'auto' | 'exec';
    readonly maxConfigs: number;
    /** Results of plugins, in the format of libcni. */
    readonly cacheDir: string;
    /** The socket at which docker finds its remote driver. Absent: it is not served. */
    readonly dockerDriver?: string;
    /** The socket of docker's API, from which the names of its containers are read. */
    readonly dockerSocket: string;
    readonly dns: {
      readonly enabled: boolean;
      /** Addresses. Empty: the upstream servers of the node. */
      readonly upstreams: readonly string[];
      /** Seconds. */
      readonly ttl: number;
      readonly maxForwards: number;
    };
    readonly services: {
      readonly backend: 'auto' | 'nftables' | 'ipvs';
      /** The folder of service descriptions. It is watched, and does not have to exist. */
      readonly folder: string;
      /** Absent: the daemon follows no cluster. */
      readonly kubernetes?: {
        /** Absent: the cluster of `network.kubernetes`, or the service account of the pod. */
        readonly kubeconfig?: string;
        /** Absent: the name of the machine. */
        readonly nodeName?: string;
        readonly zone?: string;
        /** Prefixes. */
        readonly externalIPs?: readonly string[];
        /** `primary` alone, or prefixes. Absent: every address of the host. */
        readonly nodePortAddresses?: readonly string[];
        /** Prefixes. Absent: those of the Node object. */
        readonly podRanges?: readonly string[];
        /** `HOST:PORT`; empty: nowhere. */
        readonly healthAddress: string;
      };
    };
    /** Absent: the cluster does not assign the subnet of this host's pods. */
    readonly pods?: NodeNetworkConfig;
    /** Absent: this host is in no network that spans hosts. */
    readonly overlay?: OverlayConfig;
    /** Maximum seconds of one call of a third-party plugin. */
    readonly pluginTimeout: number;
  };
  readonly registries: {
    /** By registry host. */
    readonly mirrors: Readonly<Record<string, MirrorConfig>>;
    /** By the beginning of a name: `HOST[:PORT][/PATH]`, or `*.DOMAIN`. */
    readonly prefixes: Readonly<Record<string, PrefixConfig>>;
    /** Hosts that may be contacted over plain HTTP. Loopback is always allowed. */
    readonly insecure: readonly string[];
    /** By host, `HOST[:PORT]`. */
    readonly tls: Readonly<Record<string, HostTlsConfig>>;
    /** Folders with the layout of `/etc/containers/certs.d`. */
    readonly certificates: readonly string[];
  };
  readonly images: {
    /** Patterns of references. Read again at SIGHUP. */
    readonly pinned: readonly string[];
    /** 0: no limit. */
    readonly maxParallelPulls: number;
    /**
     * Whether containers of images with a signed chunk index may start before their layers are on this node.
     */
    readonly lazy: boolean;
  };
  /** OCI runtimes by handler name. */
  readonly runtimes: Readonly<Record<string, RuntimeConfig>>;
  /** The handler of a pod that does not name a handler. */
  readonly defaultRuntime: string;
  /**
   * Whether the kernel may be set, until the next boot, to lock each process separately while it enters a
   * cgroup.
   */
  readonly cgroupFavorDynmods: boolean;
  /** `auto`: systemd where systemd is process 1, otherwise cgroupfs. */
  readonly cgroupDriver: 'auto' | 'cgroupfs' | 'systemd';
  /** The server of exec, attach and port-forward streams. */
  readonly streaming: {
    readonly address: string;
    readonly port: number;
    /** Both empty: plain HTTP. */
    readonly tls: { readonly certFile: string; readonly keyFile: string };
    /** Seconds. */
    readonly idleTimeout: number;
    readonly maxSessions: number;
    readonly maxSessionsPerContainer: number;
  };
  /** How many sets of pinned namespaces are kept ready for the next pods. */
  readonly namespacePool: number;
  /** The folder of the kubelet, which keeps the files of a pod below `pods/UID`. */
  readonly kubeletRoot: string;
  /** Folders of CDI specs, in ascending order of precedence. */
  readonly cdi: { readonly specDirs: readonly string[] };
  /** Whether requested devices belong to the user of the container. */
  readonly devices: { readonly ownedByUser: boolean };
  /** Sizes as written: `64Mi`. `limit` is the maximum that a pod may request. */
  readonly shm: { readonly size: string; readonly limit: string };
  /** Sysctls of every pod, by name. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** `maxSize` as written; `0` leaves rotation to the kubelet. */
  readonly logs: { readonly maxSize: string; readonly maxFiles: number };
  /** The form of new layers. */
  readonly storage: { readonly layers: 'auto' | 'erofs' | 'folders'; readonly checkDays: number };
  /** As written; `0` means no limit. */
  readonly writableLayer: { readonly size: string };
  /** Refuses programs with known open vulnerabilities instead of running them behind checks. */
  readonly strict: boolean;
  /** `HOST:PORT` of `/metrics` and `/healthz`. Empty: not served. */
  readonly metrics: { readonly address: string };
  /** Base URL of an OTLP/HTTP collector. Empty: no traces. */
  readonly tracing: { readonly endpoint: string; readonly samplingRatePerMillion: number };
  /** The aggregator that receives verdicts and state. Empty endpoint: nothing is sent. */
  readonly fleet: {
    readonly endpoint: string;
    readonly tokenFile: string;
    readonly caFile: string;
    readonly certFile: string;
    readonly keyFile: string;
    readonly node: string;
    readonly labels: Readonly<Record<string, string>>;
  };
  /** The log of callers and their requests. Empty path: no audit log. */
  readonly audit: { readonly path: string; readonly reads: boolean; readonly required: boolean };
  /** Plugins of the node by NRI (containerd/nri). */
  readonly nri: {
    readonly enabled: boolean;
    /** Empty: only pre-installed plugins. */
    readonly socket: string;
    readonly pluginPath: string;
    readonly pluginConfigPath: string;
    /** Milliseconds. */
    readonly registrationTimeout: number;
    /** Milliseconds. */
    readonly requestTimeout: number;
    /** Programs of the host that plugins may add as OCI hooks. */
    readonly allowHooks: readonly string[];
    /** Plugins without which no container is created, by name, with or without the index. */
    readonly required: readonly string[];
  };
  /** Checkpoints of containers. */
  readonly checkpoint: {
    readonly enabled: boolean;
    /** Whether a container is restored if its image holds a checkpoint. */
    readonly restore: boolean;
    /** Folders below which archives may be written. */
    readonly folders: readonly string[];
    /** Sizes as text: see `bytesOf`. */
    readonly maxSize: string;
    readonly keepFree: string;
    /** Seconds. */
    readonly timeout: number;
  };
  /**
   * The action on running containers that the policy denies, and the time for which verdicts stay replayable.
   */
  readonly verdicts: { readonly outOfPolicy: 'report' | 'stop'; readonly retentionDays: number };
  /** The planted pair, and the findings that do not count. Empty references: there is no pair. */
  readonly enforcement: {
    readonly admitted: string;
    readonly refused: string;
    readonly namespace: string;
    /** Seconds. */
    readonly interval: number;
    readonly accept: readonly string[];
  };
  readonly logLevel: LogLevel;
}

/** The signed releases of a policy that the node follows. */
export interface PolicySubscriptionConfig {
  readonly service: string;
  /** File of the first root. */
  readonly root: string;
  readonly releases?: string;
  readonly channel: string;
  /** Seconds. */
  readonly interval: number;
  /** Empty: the name of the machine. */
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly onStale: 'deny' | 'keep' | 'previouslyAdmitted';
  /** Such as `72h`. */
  readonly previouslyAdmittedFor: string;
}

/** An absent key has the default of the schema. */
/** The network of the pods of a Kubernetes node. */
export interface NodeNetworkConfig {
  readonly from: 'node' | 'runtimeConfig';
  /** Prefixes of all nodes' pod subnets. */
  readonly ranges: readonly string[];
  readonly kubeconfig?: string;
  /** Absent: the name of the machine. */
  readonly nodeName?: string;
  readonly routes?: boolean;
  readonly name?: string;
  readonly order?: string;
}

export interface OverlayConfig {
  readonly name?: string;
  readonly host?: string;
  readonly etcd: {
    readonly endpoints: readonly string[];
    readonly ca?: string;
    readonly cert?: string;
    readonly key?: string;
  };
  readonly network: string;
  readonly hostPrefix?: number;
  readonly network6?: string;
  readonly hostPrefix6?: number;
  readonly underlay: string;
  readonly vni?: number;
  readonly vxlanPort?: number;
  readonly encryption?: 'wireguard' | 'none';
  readonly wireguardPort?: number;
  /** Seconds. */
  readonly lease?: number;
  /** Seconds. */
  readonly hold?: number;
  /** In the format of the first plugin of a conflist. */
  readonly services?: Readonly<Record<string, unknown>>;
  readonly order?: string;
}
