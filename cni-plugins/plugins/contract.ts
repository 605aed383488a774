import type { AttachmentKey } from '../spec/attachment-key.ts';
import type { IpAddress, IpPrefix } from '../spec/address.ts';
import type { Fields } from '../spec/fields.ts';
import type { CniResult } from '../spec/result.ts';
import type { NetlinkSocket } from '../netlink/socket.ts';
import type { PortMapping } from '../types.ts';

/**
 * How a plugin and the engine share the work. A plugin says, as a value, what shall stand in the kernel (resources) and what the
 * caller is told (a result). The engine writes both down, makes the resources, compares them for CHECK, removes them for DEL and
 * makes them again after a crash. A plugin has no effects of its own.
 */

/** What a plugin may know when it plans. */
export interface PlanInput {
  readonly key: AttachmentKey;
  /** CNI_NETNS, as the caller wrote it: the `sandbox` of interfaces in the pod. */
  readonly netns: string;
  /** Name for the host's end of the interface: at most 15 characters, one for each attachment of the realm. */
  readonly hostInterface: string;
  /** The rules of links hold that end from its birth on: it is made in the group by which they tell it. */
  readonly bound?: boolean;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  /** The result of the plugin before it in the chain. */
  readonly prevResult?: CniResult;
  /** Leased by the address plugin of this configuration: IPv4 first. Empty where it has none. */
  readonly addresses: readonly LeasedAddress[];
  /** Routes and DNS that the address plugin gives. */
  readonly ipamRoutes: CniResult['routes'];
  readonly dns: CniResult['dns'];
  readonly host: HostFacts;
  /**
   * Of a plugin in two halves, cnm: what was agreed with others between them, a JSON value. ADD is the first half and has none; its plan
   * says what is known until then.
   */
  readonly joined?: unknown;
  /** What the plugin's own `observe` answered. */
  readonly observed?: unknown;
}

export interface LeasedAddress {
  readonly address: IpPrefix;
  readonly gateway?: IpAddress;
  /** The network that the address belongs to. */
  readonly subnet: IpPrefix;
}

/** Read once before the plan, so that the plan stays pure. */
export interface HostFacts {
  /** MTU of the link by which the default route leaves; 1500 without one. */
  readonly defaultMtu: number;
  /** Name of that link; undefined without a default route. */
  readonly defaultLink: string | undefined;
  /** MTU of a link of the host's namespace, undefined when there is none of that name. */
  readonly mtuOf: (link: string) => number | undefined;
  readonly hasIpv6: boolean;
}

export interface Plan {
  /** In the order in which they are made; removed in the opposite order. JSON values: they are stored. */
  readonly resources: readonly Resource[];
  readonly result: CniResult;
}

/** One thing that shall stand in the kernel. `kind` chooses the ResourceKind that makes it. A plain JSON value. */
export interface Resource {
  readonly kind: string;
}

/** A plugin of ours: `type` without the prefix `portcullis-`. Everything here is pure. */
export interface Plugin<Config = unknown> {
  readonly type: string;
  /** Whether it makes the interface (first of a chain) or changes what another one made (needs prevResult). */
  readonly role: 'interface' | 'chained';
  /** Names of `runtimeConfig` keys that it honours (CNI conventions). */
  readonly capabilities: readonly string[];
  /**
   * Reads the configuration, its runtimeConfig and args; every problem is added to the fields' problems, none is thrown. Pure: what is read of a text is
   * remembered, and of CNI_ARGS there are IP, MAC and GATEWAY.
   */
  read(config: Fields, args: Readonly<Record<string, string>>): Config;
  /**
   * Reads of the kernel what only this plugin's plan needs: the MAC of the device to move, a free routing table, values to give back at DEL.
   * Called for ADD only, after the plugins before it in the chain have made their resources. It changes nothing, and its answer is a JSON value.
   */
  observe?(config: Config, kernel: ResourceKernel, input: Omit<PlanInput, 'observed'>): unknown;
  /** Why it can make nothing on the host as that is, for STATUS; undefined: nothing is known that is in the way. It changes nothing. */
  unavailable?(config: Config, host: NetlinkSocket): string | undefined;
  /** @throws NETWORK_* when the input cannot be served, such as a missing prevResult */
  plan(config: Config, input: PlanInput): Plan;
}

/** Addresses without a store: `ipam.type` of a configuration names it. Pure. */
export interface AddressPlugin<Config = unknown> {
  readonly type: string;
  readonly capabilities: readonly string[];
  /** Reads the plugin's whole configuration (`ipam`, `runtimeConfig`, `args`); problems go to the fields. Pure, as a plugin's `read`. */
  read(config: Fields, args: Readonly<Record<string, string>>): Config;
  lease(config: Config): {
    readonly addresses: readonly LeasedAddress[];
    readonly routes: CniResult['routes'];
    readonly dns: CniResult['dns'];
  };
}

/** Sockets and namespaces in which a resource is made. Synchronous, for the network's Worker. */
export interface ResourceKernel {
  /** In the host's (the caller's) network namespace. */
  readonly host: { readonly route: NetlinkSocket; readonly filter: NetlinkSocket };
  /** In the pod's namespace; absent when it is gone (DEL after the pod died). */
  readonly pod?: { readonly route: NetlinkSocket; readonly netnsFd: number };
  /** Runs synchronous kernel calls and /proc/sys reads inside the pod's namespace: no await, no Worker, no DNS. @throws when the namespace is gone */
  inPod<T>(body: () => T): T;
  inHost<T>(body: () => T): T;
  /** A path of the caller, who may live in another mount namespace, as this process opens it. */
  hostPath(path: string): string;
  /** Says that something which many attachments share (a table of rules) was missing and was made anew: the engine repairs the others. */
  readonly foundGone?: () => void;
}

export type Completion = 'done' | 'pending';

/** A host port that one attachment of a realm holds at a time. */
export type HostPort = Pick<PortMapping, 'protocol' | 'hostPort'> & { readonly hostIp?: string };

/** How resources of one kind are made, compared and removed. */
export interface ResourceKind<R extends Resource = Resource> {
  readonly kind: R['kind'];
  /** Host ports that it takes: another attachment's ADD that wants one of them is refused. */
  hostPorts?(resource: R): readonly HostPort[];
  /** Makes it, or what is missing of it; success when it stands. */
  ensure(resource: R, kernel: ResourceKernel, key: AttachmentKey): void;
  /**
   * Does what comes once all resources of the plugin are made, such as letting traffic through. It does not wait: where the kernel or a neighbour
   * is still at work the answer is `pending`, and it is called again, after other calls had their turn. As {@link ensure}.
   * @param waitedMs since the first time
   */
  complete?(resource: R, kernel: ResourceKernel, waitedMs: number): Completion;
  /** What the kernel has otherwise, in words for a person; empty: it stands as described. */
  differences(resource: R, kernel: ResourceKernel, key: AttachmentKey): string[];
  /**
   * How a resource of a plugin before it in the chain stands once this one does: a later plugin may change an interface on purpose,
   * and neither CHECK nor repair must take that for damage. Pure.
   */
  amend?(resource: R, earlier: Resource): Resource;
  /**
   * Success when it is gone already, the pod's namespace included.
   * @param attached what else stands: what attachments share goes with the last of them
   */
  remove(resource: R, kernel: ResourceKernel, key: AttachmentKey, attached: Attached): void;
}

/** What the engine knows of other attachments. */
export interface Attached {
  /** Whether a plugin's part stands for the attachment of a host's link; undefined: it is no attachment's that is known here. */
  has(hostInterface: string, type: string): boolean | undefined;
  /** An ADD that failed is taken back: what it made goes, where a DEL would leave it to others. */
  readonly isUndone?: boolean;
}
