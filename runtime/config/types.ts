import type { LogLevel } from '../../base/log/index.ts';

/** A mirror of one registry host. */
export interface MirrorConfig {
  /** `https://HOST[:PORT][/PREFIX]`, or `http://…`: a mirror written so may be asked in plain HTTP. */
  readonly url: string;
  /** False: the origin is never contacted, not even when the mirror lacks something. */
  readonly origin: boolean;
  /** File with the mirror's own credentials, as `docker login` writes it. */
  readonly authFile?: string;
}

/** The effective configuration of the daemon: file, flags and defaults merged, all paths absolute. */
export interface DaemonConfig {
  readonly socket: string;
  /** Who may connect beside uid 0; the socket file belongs to the first gid. */
  readonly peers: { readonly uids: readonly number[]; readonly gids: readonly number[] };
  /** Lasting state: images, evidence, database. */
  readonly root: string;
  /** State that ends with the boot: pinned namespaces, bundles, mounts. */
  readonly state: string;
  /** Files and folders with trust policies and profiles. Empty: everything new is denied. */
  readonly policy: readonly string[];
  readonly cni: {
    readonly confDir: string;
    readonly binDirs: readonly string[];
    /** Where our plugins reach the daemon. Absent: `cni.sock` in `state`. */
    readonly socket?: string;
  };
  readonly network: {
    readonly policies: string;
    /** `auto`: plugins that are ours run in the daemon; `exec`: every chain by its programs. */
    readonly plugins: 'auto' | 'exec';
    readonly maxConfigs: number;
    /** Results of plugins, as libcni keeps them. */
    readonly cacheDir: string;
    /** Where docker finds its remote driver. Absent: it is not served. */
    readonly dockerDriver?: string;
    /** Of docker's API: the names of its containers are read there. */
    readonly dockerSocket: string;
    readonly dns: {
      readonly enabled: boolean;
      /** Addresses; empty: the node's. */
      readonly upstreams: readonly string[];
      /** Seconds. */
      readonly ttl: number;
      readonly maxForwards: number;
    };
    readonly services: {
      readonly backend: 'auto' | 'nftables' | 'ipvs';
      /** Of descriptions; followed, may be missing. */
      readonly folder: string;
      /** Absent: no cluster is followed. */
      readonly kubernetes?: {
        readonly kubeconfig: string;
        /** Absent: that of the machine. */
        readonly nodeName?: string;
        readonly zone?: string;
        /** Prefixes. */
        readonly externalIPs?: readonly string[];
      };
    };
    /** Absent: this host is in no network that spans hosts. */
    readonly overlay?: OverlayConfig;
    /** Seconds that one call of a plugin of others may take. */
    readonly pluginTimeout: number;
  };
  readonly registries: {
    /** By registry host. */
    readonly mirrors: Readonly<Record<string, MirrorConfig>>;
    /** Hosts that may be asked in plain HTTP; loopback always may. */
    readonly insecure: readonly string[];
    /** Folders as `/etc/containers/certs.d`. */
    readonly certificates: readonly string[];
  };
  /** OCI runtimes by handler name. */
  readonly runtimes: Readonly<Record<string, { readonly path: string }>>;
  /** The handler of a pod that names none. */
  readonly defaultRuntime: string;
  /** Whether the kernel may be told, until the next boot, to lock a process by itself while it enters a cgroup. */
  readonly cgroupFavorDynmods: boolean;
  /** `auto`: systemd where systemd is process 1, else cgroupfs. */
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
  /** What a kubelet keeps for a pod is below `pods/UID` here. */
  readonly kubeletRoot: string;
  /** Folders of CDI specs, the most important last. */
  readonly cdi: { readonly specDirs: readonly string[] };
  /** Whether asked devices belong to the user that runs. */
  readonly devices: { readonly ownedByUser: boolean };
  /** Sizes as written: `64Mi`. `limit` bounds what a pod may ask for. */
  readonly shm: { readonly size: string; readonly limit: string };
  /** `maxSize` as written; `0` leaves rotation to the kubelet. */
  readonly logs: { readonly maxSize: string; readonly maxFiles: number };
  /** As written; `0` is no limit. */
  readonly writableLayer: { readonly size: string };
  /** Refuses parts with known open vulnerabilities instead of running them behind checks. */
  readonly strict: boolean;
  /** `HOST:PORT` of `/metrics` and `/healthz`; empty: none. */
  readonly metrics: { readonly address: string };
  /** Base URL of an OTLP/HTTP collector; empty: no traces. */
  readonly tracing: { readonly endpoint: string; readonly samplingRatePerMillion: number };
  /** Who asked for what; an empty path: no audit log. */
  readonly audit: { readonly path: string; readonly reads: boolean; readonly required: boolean };
  /** What becomes of running containers that the policy denies, and for how long verdicts stay replayable. */
  readonly verdicts: { readonly outOfPolicy: 'report' | 'stop'; readonly retentionDays: number };
  /** The planted pair, and which findings do not count; empty references: there is no pair. */
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

/** What is absent has the default that the schema says. */
export interface OverlayConfig {
  readonly name?: string;
  readonly host?: string;
  readonly etcd: { readonly endpoints: readonly string[]; readonly ca?: string; readonly cert?: string; readonly key?: string };
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
  /** As the first plugin of a conflist has it. */
  readonly services?: Readonly<Record<string, unknown>>;
  readonly order?: string;
}
