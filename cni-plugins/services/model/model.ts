/**
 * The types that describe a service, shared by the code that describes, compiles, programs and counts
 * services. Values only.
 */

/**
 * The link that holds the virtual addresses, because IPVS sees only packets that are delivered to the host
 * itself. The link also shows which services are ours: those at an address of this link, whichever other
 * programs use IPVS.
 */
export const serviceLink = 'portcullis-ipvs';

export type Family = 4 | 6;
export type Protocol = 'tcp' | 'udp' | 'sctp';

/**
 * How a new connection gets its backend, by the names that IPVS uses: round robin (`rr`), weighted round
 * robin (`wrr`), least connections (`lc`), hash of the client's address (`sh`), consistent hash of client
 * address and port (`maglev`; IPVS calls it `mh`).
 */
export type Scheduler = 'rr' | 'wrr' | 'lc' | 'sh' | 'maglev';

/**
 * `nat`: addresses are rewritten in both directions. `dsr`: direct server return. The backend holds the
 * virtual address itself and answers the client.
 */
export type Forwarding = 'nat' | 'dsr';

/** An address that serves a service. */
export interface Backend {
  readonly address: string;
  /**
   * Port numbers by the names of the service's ports, for each port where the backend does not use the port's
   * `targetPort`.
   */
  readonly ports?: Readonly<Record<string, number>>;
  /** Names of the service's ports that this backend does not serve. */
  readonly without?: readonly string[];
  /** Names of the service's ports at which this backend has the weight 0. */
  readonly quiescentPorts?: readonly string[];
  /**
   * Names of the service's ports at which this backend gets new connections from inside the node
   * ({@link Service.insideSources}). Absent: those at which it gets connections from outside.
   */
  readonly insidePorts?: readonly string[];
  /** 0 to 65535. With 0 the backend gets no new connections and keeps the established ones. Absent: 1. */
  readonly weight?: number;
  /**
   * The backend gets no new connections. Its established connections end after the service's grace period.
   */
  readonly draining?: boolean;
}

export interface ServicePort {
  /** Unique within the service. Backends refer to the port by this name. */
  readonly name: string;
  readonly protocol: Protocol;
  /** The port at the service's addresses. */
  readonly port: number;
  /** The port at each backend that does not set its own. */
  readonly targetPort: number;
  /** The port is also served at addresses of the host: see {@link Service.nodeAddresses}. */
  readonly nodePort?: number;
  /**
   * The families in which only other nodes have a backend for clients from outside. In these, connections
   * from outside are dropped. In the others, connections are refused while there is no backend.
   */
  readonly elsewhere?: readonly Family[];
}

export type HealthCheck = {
  /** The name of one of the service's ports. Absent: the first port. */
  readonly port?: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  /** Consecutive failures after which a backend is taken out. */
  readonly failures: number;
  /** Consecutive successes after which the backend is back. */
  readonly successes: number;
} & (
  | { readonly kind: 'tcp' }
  | {
      readonly kind: 'http';
      readonly path: string;
      readonly host?: string;
      readonly status: readonly number[];
    }
  /** Runs on the host. BACKEND_ADDRESS and BACKEND_PORT name the backend. Exit status 0 means healthy. */
  | { readonly kind: 'exec'; readonly command: readonly string[] }
);

/** A service as its author described it. */
export interface Service {
  /** Unique across all sources. A Kubernetes service is named `namespace/name`. */
  readonly name: string;
  /** Virtual addresses of either family. */
  readonly addresses: readonly string[];
  /** Addresses that are routed to the host from outside. */
  readonly externalAddresses: readonly string[];
  /**
   * Load balancer addresses that are routed to the host from outside. `loadBalancerSourceRanges` applies to
   * them. None of them is in the other two lists.
   */
  readonly loadBalancerAddresses?: readonly string[];
  /**
   * Prefixes. A client that connects from any other address to a load balancer address is dropped. If a
   * family has no prefix, no client of that family is dropped.
   */
  readonly loadBalancerSourceRanges?: readonly string[];
  /** The addresses of the host at which node ports are served. Absent: all addresses of the host. */
  readonly nodeAddresses?: readonly string[];
  /** The families of the node ports. Absent: those of `addresses`, else those of the backends, else both. */
  readonly nodeFamilies?: readonly Family[];
  readonly ports: readonly ServicePort[];
  readonly scheduler: Scheduler;
  /**
   * A client's connections go to one backend for as long as the backends do not change. This uses a hash:
   * nothing is remembered.
   */
  readonly clientAffinity: boolean;
  /**
   * A client's connections go to the backend of its last connection until the client has been silent for this
   * long. Absent: not remembered.
   */
  readonly persistenceSeconds?: number;
  /**
   * Addresses of this service or of another one with the same ports and backends. All servers that name one
   * remember clients together: a client of one of them has the same backend at the others. Absent: each
   * server remembers its own clients.
   */
  readonly rememberedAt?: readonly string[];
  /** As `rememberedAt`, for connections from {@link Service.insideSources}. */
  readonly insideRememberedAt?: readonly string[];
  readonly forwarding: Forwarding;
  /**
   * `keep`: backends see the client's address, except on a connection whose answers would not come back
   * (hairpin, another host).
   */
  readonly sourceAddress: 'keep' | 'masquerade';
  /**
   * Prefixes of the pods of this node. Connections of these pods and of the host itself come from inside:
   * they go to the backends that {@link Backend.insidePorts} names. Absent: all clients get the same
   * backends.
   */
  readonly insideSources?: readonly string[];
  /** How long connections may go on to a backend that is draining, removed or unhealthy. */
  readonly drainGraceSeconds: number;
  readonly healthCheck?: HealthCheck;
  /**
   * Creation time of the Kubernetes object, in milliseconds since 1970. When two services claim one address
   * with equal rank, the older one gets it.
   */
  readonly createdAt?: number;
  readonly backends: readonly Backend[];
}

/**
 * One address, protocol and port, of one family, that clients connect to. This is what a balancer programs.
 */
export interface VirtualServer {
  readonly service: string;
  /** The name of the service's port. */
  readonly portName: string;
  readonly kind: 'virtual' | 'external' | 'node';
  readonly family: Family;
  /** Absent for a node port, which is served at every address of the host. */
  readonly address?: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly scheduler: Scheduler;
  readonly clientAffinity: boolean;
  readonly persistenceSeconds?: number;
  /**
   * A server of the same family and protocol, with the same destinations. All servers that name one remember
   * clients together. A balancer may let each server remember its own clients.
   */
  readonly remembersAs?: ServerAddress;
  /** As `remembersAs`, for connections from `insideSources`. */
  readonly insideRemembersAs?: ServerAddress;
  readonly forwarding: Forwarding;
  readonly sourceAddress: 'keep' | 'masquerade';
  /**
   * Prefixes of the server's family. New connections from any other address are dropped. Absent: connections
   * from everywhere are accepted.
   */
  readonly sourceRanges?: readonly string[];
  /**
   * Prefixes of the server's family. New connections from these, and of the host itself, go to destinations
   * by {@link Destination.insideWeight}. Absent: all clients get the same destinations.
   */
  readonly insideSources?: readonly string[];
  /** Without a destination, new connections are dropped. Absent: they are refused. */
  readonly drops?: true;
  readonly destinations: readonly Destination[];
}

/** Where clients connect to a virtual server. */
export interface ServerAddress {
  readonly address: string;
  readonly port: number;
}

/** The address and port of a backend for one virtual server of the same family. */
export interface Destination {
  readonly address: string;
  readonly port: number;
  /** 0: the backend drains or has this weight. Established connections go on, and no new one begins. */
  readonly weight: number;
  /** The weight for connections from {@link VirtualServer.insideSources}. Absent: as `weight`. */
  readonly insideWeight?: number;
}

/** Identifies a virtual server among all of a host: `4 tcp 10.96.0.1 80`. */
export type ServerKey = string;

/** Returns the key of a virtual server. Node ports have no address. */
export function keyOf(server: Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'>): ServerKey {
  return `${server.family} ${server.protocol} ${server.address ?? '*'} ${server.port}`;
}

/** Why a balancer cannot do what a virtual server asks for. */
export interface Refusal {
  /** The field of the service, such as `scheduler` or `forwarding`. */
  readonly field: string;
  readonly why: string;
}

/** Counts since a virtual server was created, and current values, for each destination. */
export interface ServerCounts {
  readonly key: ServerKey;
  /**
   * Packets from outside the source ranges that were dropped since the server was created. Absent: it has no
   * source ranges.
   */
  readonly denied?: bigint;
  readonly destinations: readonly {
    readonly address: string;
    readonly port: number;
    /** Since the server was created. Undefined if the kernel does not count connections. */
    readonly connections?: bigint;
    readonly active: number;
  }[];
}

/**
 * Programs virtual servers into the kernel, as IPVS or nf_tables. Synchronous, for a Worker. Acts in the
 * network namespace in which it was opened.
 */
export interface Balancer {
  readonly kind: 'ipvs' | 'nftables';
  /** Returns why the balancer cannot program the server, or undefined if it can. Pure. */
  refuse(server: VirtualServer): Refusal | undefined;
  /**
   * Brings the kernel from any state to exactly these servers. The iterable may be walked more than once,
   * also by a later call. Returns how many servers differed.
   * @throws NETWORK_KERNEL_<ERRNO> with the message of the kernel
   */
  reconcile(servers: Iterable<VirtualServer>): number;
  /**
   * Puts some servers, each described completely, and removes others. The cost depends on what changes, not
   * on what exists.
   * @param isContinued another change follows at once: the kernel's part of this one may still run when the
   * call returns. Every later call waits for it first, and throws its failure
   */
  change(put: readonly VirtualServer[], remove: readonly ServerKey[], isContinued?: boolean): void;
  /** Ends established connections to a destination whose grace period is over. Returns how many. */
  cut(server: ServerKey, destination: Pick<Destination, 'address' | 'port'>): number;
  /**
   * @param of counts each of these servers that exists; absent: all servers, or at least those for which the
   * balancer knows something
   */
  counts(of?: ReadonlySet<ServerKey>): readonly ServerCounts[];
  /**
   * Called once a second. Updates weights for `lc`, idle persistence, and everything else that the kernel
   * does not do by itself.
   */
  tick(): void;
  /**
   * Cheap check: whether another program may have changed our objects since the last call. Absent: the caller
   * compares now and then.
   */
  changedByOthers?(): boolean;
  /**
   * After {@link Balancer.changedByOthers}: recreates everything as it was last programmed if all of it is
   * gone, faster than `reconcile` does. Returns how many servers it recreated. Undefined: something is left,
   * and has to be compared.
   */
  restore?(): number | undefined;
  /**
   * Returns how many servers `change` and `tick` have repaired since the last call, because they met what
   * another program had changed. Absent: they repair nothing.
   */
  takeRepairs?(): number;
  /** Removes everything that belongs to us from the kernel. */
  removeAll(): void;
  close(): void;
}

/**
 * Sets the services of a host. Every source uses it: files, Kubernetes, docker, other hosts. A source never
 * changes the services of another source.
 */
export interface ServiceControl {
  /**
   * Replaces all services of a source. Services that it had and that are not in the list are removed. Returns
   * each refused service. The others are in force: durable, and in the kernel.
   */
  replace(source: string, services: readonly Service[]): Promise<readonly RefusedService[]>;
  put(source: string, services: readonly Service[]): Promise<readonly RefusedService[]>;
  remove(source: string, names: readonly string[]): Promise<void>;
}

/** For a source with thousands of services, which passes them in portions. */
export interface PortionControl extends Pick<ServiceControl, 'remove'> {
  /**
   * @param isContinued another portion follows at once: this one may not be in the kernel yet when the call
   * returns. If the kernel does not take it, a later call fails
   */
  put(
    source: string,
    services: readonly Service[],
    isContinued?: boolean,
  ): Promise<readonly RefusedService[]>;
  /** Removes every service of the source whose name is not in this list. */
  retain(source: string, names: readonly string[]): Promise<void>;
}

export interface RefusedService {
  readonly name: string;
  /** As in other errors: what, why and what to do, with a stable code. */
  readonly code: string;
  readonly field: string;
  readonly why: string;
}
