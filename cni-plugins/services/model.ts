/** What a service is to everyone who describes, compiles, programs or counts one. Values only. */

export type Family = 4 | 6;
export type Protocol = 'tcp' | 'udp' | 'sctp';

/**
 * How a new connection gets its backend, by IPVS's names: in turn (`rr`), in turn by weight (`wrr`), to the least connections (`lc`),
 * by the client's address (`sh`), by consistent hash of client and port (`maglev`; IPVS says `mh`).
 */
export type Scheduler = 'rr' | 'wrr' | 'lc' | 'sh' | 'maglev';

/** `nat`: rewritten there and back. `dsr`: direct server return, the backend holds the address itself and answers the client. */
export type Forwarding = 'nat' | 'dsr';

/** What answers. */
export interface Backend {
  readonly address: string;
  /** By the names of the service's ports, where it is not the port's `targetPort`. */
  readonly ports?: Readonly<Record<string, number>>;
  /** Ports of the service, by name, that it does not serve. */
  readonly without?: readonly string[];
  /** Ports of the service, by name, at which its weight is 0. */
  readonly quiescentPorts?: readonly string[];
  /** 0 to 65535; 0: no new connections, those that stand go on. Absent: 1. */
  readonly weight?: number;
  /** Gets no new connections, and none at all after the service's grace. */
  readonly draining?: boolean;
}

export interface ServicePort {
  /** Unique in the service; backends name their ports by it. */
  readonly name: string;
  readonly protocol: Protocol;
  /** At the service's addresses. */
  readonly port: number;
  /** At every backend that does not say another. */
  readonly targetPort: number;
  /** At every address of the host, too. */
  readonly nodePort?: number;
}

export type HealthCheck = {
  /** Of the service's ports; absent: the first. */
  readonly port?: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  /** In a row, until a backend is taken out. */
  readonly failures: number;
  /** In a row, until it is back. */
  readonly successes: number;
} & (
  | { readonly kind: 'tcp' }
  | { readonly kind: 'http'; readonly path: string; readonly host?: string; readonly status: readonly number[] }
  /** Run on the host, told the backend by BACKEND_ADDRESS and BACKEND_PORT; exit status 0: well. */
  | { readonly kind: 'exec'; readonly command: readonly string[] }
);

/** As its author described it. */
export interface Service {
  /** Unique over all sources; of Kubernetes `namespace/name`. */
  readonly name: string;
  /** Virtual addresses, of either family. */
  readonly addresses: readonly string[];
  /** Addresses that are routed to the host from outside. */
  readonly externalAddresses: readonly string[];
  /** The same, of a load balancer: what `loadBalancerSourceRanges` is about. None of the others. */
  readonly loadBalancerAddresses?: readonly string[];
  /** Prefixes: whoever connects from elsewhere to an address of the load balancer is dropped. Absent of a family: nobody of that family is. */
  readonly loadBalancerSourceRanges?: readonly string[];
  readonly ports: readonly ServicePort[];
  readonly scheduler: Scheduler;
  /** A client's connections go to one backend as long as the backends do not change: by a hash, nothing is remembered. */
  readonly clientAffinity: boolean;
  /** A client's connections go to the backend of its last one, until it was silent for so long. Absent: not remembered. */
  readonly persistenceSeconds?: number;
  readonly forwarding: Forwarding;
  /** `keep`: backends see the client's address, but for a connection that would not come back (hairpin, another host). */
  readonly sourceAddress: 'keep' | 'masquerade';
  /** How long connections to a backend that drains, was removed or is unwell may go on. */
  readonly drainGraceSeconds: number;
  readonly healthCheck?: HealthCheck;
  /** Of its object in Kubernetes, milliseconds since 1970: of two that claim one address with the same right the older one has it. */
  readonly createdAt?: number;
  readonly backends: readonly Backend[];
}

/** One address, protocol and port that clients connect to, of one family: what a balancer programs. */
export interface VirtualServer {
  readonly service: string;
  /** The service's port by name. */
  readonly portName: string;
  readonly kind: 'virtual' | 'external' | 'node';
  readonly family: Family;
  /** Absent of a node port: every address of the host. */
  readonly address?: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly scheduler: Scheduler;
  readonly clientAffinity: boolean;
  readonly persistenceSeconds?: number;
  readonly forwarding: Forwarding;
  readonly sourceAddress: 'keep' | 'masquerade';
  /** Prefixes of its family: new connections from elsewhere are dropped. Absent: from everywhere. */
  readonly sourceRanges?: readonly string[];
  readonly destinations: readonly Destination[];
}

/** A backend's address and port for one virtual server, of its family. */
export interface Destination {
  readonly address: string;
  readonly port: number;
  /** 0: draining or said so; connections that stand go on, and none begins. */
  readonly weight: number;
}

/** `4 tcp 10.96.0.1 80`: a virtual server among all of a host. */
export type ServerKey = string;

/** The key of a virtual server; node ports have no address. */
export function keyOf(server: Pick<VirtualServer, 'family' | 'protocol' | 'address' | 'port'>): ServerKey {
  return `${server.family} ${server.protocol} ${server.address ?? '*'} ${server.port}`;
}

/** Why a balancer can not do what a virtual server asks for. */
export interface Refusal {
  /** The field of the service: `scheduler`, `forwarding` … */
  readonly field: string;
  readonly why: string;
}

/** What happened since a virtual server was made, and now, for each destination. */
export interface ServerCounts {
  readonly key: ServerKey;
  /** Packets from outside its source ranges that were dropped, since it was made; absent: it has none. */
  readonly denied?: bigint;
  readonly destinations: readonly {
    readonly address: string;
    readonly port: number;
    /** Since it was made; undefined where the kernel does not count them. */
    readonly connections?: bigint;
    readonly active: number;
  }[];
}

/** What brings virtual servers into the kernel: IPVS or nf_tables. Synchronous, for a Worker, in the namespace where it was opened. */
export interface Balancer {
  readonly kind: 'ipvs' | 'nftables';
  /** Pure; undefined: it can. */
  refuse(server: VirtualServer): Refusal | undefined;
  /**
   * Brings the kernel from whatever it holds to exactly these; they may be walked more than once, also by a later call. Gives how many differed.
   * @throws NETWORK_KERNEL_<ERRNO> with the kernel's words
   */
  reconcile(servers: Iterable<VirtualServer>): number;
  /** Puts some as they are now to be, whole, and removes others; costs by what changes, not by what stands. */
  change(put: readonly VirtualServer[], remove: readonly ServerKey[]): void;
  /** Ends connections that stand to a destination: its grace is over. Gives how many. */
  cut(server: ServerKey, destination: Pick<Destination, 'address' | 'port'>): number;
  /** @param of each of these that stands; absent: all, or at least those that something is known of */
  counts(of?: ReadonlySet<ServerKey>): readonly ServerCounts[];
  /** Once a second: weights of `lc`, idle persistence, whatever the kernel does not do by itself. */
  tick(): void;
  /** Cheap: whether another program may have changed what is ours since the last call. Absent: it is compared now and then. */
  changedByOthers?(): boolean;
  /** Takes everything of ours out of the kernel. */
  removeAll(): void;
  close(): void;
}

/** What a host's services are brought to, by whoever describes them: a file, Kubernetes, docker, other hosts. One source never changes another's. */
export interface ServiceControl {
  /** All that a source has; what it had and is not here is removed. Answers each that was refused; the others stand, durable and in the kernel. */
  replace(source: string, services: readonly Service[]): Promise<readonly RefusedService[]>;
  put(source: string, services: readonly Service[]): Promise<readonly RefusedService[]>;
  remove(source: string, names: readonly string[]): Promise<void>;
}

/** For a source of thousands of services, which tells what it has in portions. */
export interface PortionControl extends Pick<ServiceControl, 'put' | 'remove'> {
  /** What the source has beside these names is removed. */
  retain(source: string, names: readonly string[]): Promise<void>;
}

export interface RefusedService {
  readonly name: string;
  /** As of errors elsewhere: what, why, what to do, with a stable code. */
  readonly code: string;
  readonly field: string;
  readonly why: string;
}
