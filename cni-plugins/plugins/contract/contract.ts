import type { AttachmentKey } from '../../spec/attachment-key.ts';
import type { IpAddress, IpPrefix } from '../../../base/addresses/index.ts';
import type { Fields } from '../../spec/fields.ts';
import type { CniResult } from '../../spec/result.ts';
import type { NetlinkSocket } from '../../../base/netlink/index.ts';
import type { PortMapping } from '../../types.ts';

/**
 * How a plugin and the engine divide the work. A plugin returns values: what must exist in the kernel
 * (resources) and what the caller gets (a result). The engine stores both, creates the resources, compares
 * them for CHECK, removes them for DEL and recreates them after a crash. A plugin has no effects of its own.
 */

/** The input from which a plugin plans. */
export interface PlanInput {
  readonly key: AttachmentKey;
  /** CNI_NETNS as the caller wrote it: the `sandbox` of interfaces in the pod. */
  readonly netns: string;
  /**
   * Name for the host's end of the interface: at most 15 characters, unique per attachment of the host
   * network namespace.
   */
  readonly hostInterface: string;
  /**
   * The link rules apply to that end from its creation on: it is created in the link group by which they
   * recognize it.
   */
  readonly bound?: boolean;
  /** CNI_ARGS. */
  readonly args: Readonly<Record<string, string>>;
  /** The result of the previous plugin in the chain. */
  readonly prevResult?: CniResult;
  /**
   * The address plugin needs the interface (DHCP), so its addresses follow when the interface exists: the
   * first plan has no addresses, and the second one, with the same `observed`, has them. Both must describe
   * the same links.
   */
  readonly addressesLater?: boolean;
  /** Addresses leased by the address plugin of this configuration, IPv4 first. Empty where it has none. */
  readonly addresses: readonly LeasedAddress[];
  /** Routes and DNS that the address plugin provides. */
  readonly ipamRoutes: CniResult['routes'];
  readonly dns: CniResult['dns'];
  readonly host: HostFacts;
  /**
   * For a plugin in two halves (cnm): the JSON value that was agreed with others between the halves. ADD is
   * the first half and has none; its plan says what is known until then.
   */
  readonly joined?: unknown;
  /** The answer of the plugin's own `observe`. */
  readonly observed?: unknown;
}

export interface LeasedAddress {
  readonly address: IpPrefix;
  readonly gateway?: IpAddress;
  /** The network that the address belongs to. */
  readonly subnet: IpPrefix;
}

/** Facts that are read once before planning, so that planning stays pure. */
export interface HostFacts {
  /** MTU of the default route's link; 1500 without a default route. */
  readonly defaultMtu: number;
  /** Name of that link; undefined without a default route. */
  readonly defaultLink: string | undefined;
  /** Returns the MTU of a link in the host's namespace, undefined when there is no link of that name. */
  readonly mtuOf: (link: string) => number | undefined;
  readonly hasIpv6: boolean;
}

export interface Plan {
  /**
   * Resources in the order of their creation; they are removed in the opposite order. JSON values, because
   * they are stored.
   */
  readonly resources: readonly Resource[];
  readonly result: CniResult;
}

/**
 * One resource that must exist in the kernel. `kind` selects the ResourceKind that creates it. A plain JSON
 * value.
 */
export interface Resource {
  readonly kind: string;
}

/** A plugin of ours: `type` without the prefix `portcullis-`. Everything here is pure. */
export interface Plugin<Config = unknown> {
  readonly type: string;
  /** Whether it creates the interface (first of a chain) or changes an existing one (needs prevResult). */
  readonly role: 'interface' | 'chained';
  /** Names of the `runtimeConfig` keys that it supports (CNI conventions). */
  readonly capabilities: readonly string[];
  /**
   * Reads the configuration, its runtimeConfig and args. Every problem is added to the fields' problems; none
   * is thrown. Pure, because the result for a text is cached. CNI_ARGS holds IP, MAC and GATEWAY.
   */
  read(config: Fields, args: Readonly<Record<string, string>>): Config;
  /**
   * Reads from the kernel what only this plugin's plan needs: the MAC of the device to move, a free routing
   * table, values to restore at DEL. Called for ADD only, after the previous plugins in the chain have
   * created their resources. It changes nothing, and its answer is a JSON value.
   */
  observe?(config: Config, kernel: ResourceKernel, input: Omit<PlanInput, 'observed'>): unknown;
  /**
   * For STATUS: returns why the plugin can create nothing on this host; undefined when no obstacle is known.
   * It changes nothing.
   * @param addresses those that the next attachment would get; empty if they are not known
   */
  unavailable?(config: Config, host: NetlinkSocket, addresses: readonly LeasedAddress[]): string | undefined;
  /**
   * Returns why addresses that are assigned when the interface exists (DHCP) cannot serve the interface;
   * undefined if they can. Absent: they cannot.
   */
  laterAddresses?(config: Config): string | undefined;
  /** @throws NETWORK_* when the input cannot be served, such as a missing prevResult */
  plan(config: Config, input: PlanInput): Plan;
}

/** An address plugin without a store. `ipam.type` of a configuration names it. Pure. */
export interface AddressPlugin<Config = unknown> {
  readonly type: string;
  readonly capabilities: readonly string[];
  /**
   * Reads the plugin's whole configuration (`ipam`, `runtimeConfig`, `args`); problems go to the fields.
   * Pure, like a plugin's `read`.
   */
  read(config: Fields, args: Readonly<Record<string, string>>): Config;
  lease(config: Config): {
    readonly addresses: readonly LeasedAddress[];
    readonly routes: CniResult['routes'];
    readonly dns: CniResult['dns'];
  };
}

/** Sockets and namespaces in which a resource is created. Synchronous, for the network's Worker. */
export interface ResourceKernel {
  /** Sockets in the network namespace of the host (the caller). */
  readonly host: { readonly route: NetlinkSocket; readonly filter: NetlinkSocket };
  /** Sockets in the pod's namespace; absent when it is gone (DEL after the pod died). */
  readonly pod?: { readonly route: NetlinkSocket; readonly netnsFd: number };
  /**
   * Runs synchronous kernel calls and /proc/sys reads inside the pod's namespace: no await, no Worker, no
   * DNS. @throws when the namespace is gone
   */
  inPod<T>(body: () => T): T;
  inHost<T>(body: () => T): T;
  /** Returns a path of the caller, who may be in another mount namespace, as this process can open it. */
  hostPath(path: string): string;
  /**
   * Called when something that attachments share (a table of rules) was missing and was recreated: the engine
   * then repairs the other attachments.
   */
  readonly foundGone?: () => void;
}

export type Completion = 'done' | 'pending';

/** A host port that only one attachment of a host network namespace can hold at a time. */
export type HostPort = Pick<PortMapping, 'protocol' | 'hostPort'> & { readonly hostIp?: string };

/** Creates, compares and removes the resources of one kind. */
export interface ResourceType<R extends Resource = Resource> {
  readonly kind: R['kind'];
  /** Returns the host ports that it takes. Another attachment's ADD that wants one of them is refused. */
  hostPorts?(resource: R): readonly HostPort[];
  /** Creates the resource, or what is missing of it. Succeeds when it already exists. */
  ensure(resource: R, kernel: ResourceKernel, key: AttachmentKey): void;
  /**
   * Performs what follows the creation of all resources of the plugin, such as letting traffic through. It
   * does not wait: while the kernel or a neighbour is still at work, it returns `pending` and is called again
   * after other calls had their turn. Otherwise like {@link ensure}.
   * @param waitedMs since the first call
   */
  complete?(resource: R, kernel: ResourceKernel, waitedMs: number): Completion;
  /**
   * Returns the differences in the kernel, in words for a person; empty when the resource is as described.
   */
  differences(resource: R, kernel: ResourceKernel, key: AttachmentKey): string[];
  /**
   * Returns an earlier plugin's resource as it is once this resource exists: a later plugin may change an
   * interface on purpose, and neither CHECK nor repair must treat that as damage. Pure.
   */
  amend?(resource: R, earlier: Resource): Resource;
  /**
   * Returns a resource of another attachment as it is once this one exists: both may share an object, and the
   * configuration may have changed between them. Absent: they share none whose settings may differ. Pure.
   */
  renew?(resource: R, other: Resource): Resource;
  /**
   * Removes from an object that both share what only the resource of the other attachment has. Called before
   * that resource is renewed.
   */
  removeFormer?(resource: R, other: Resource, kernel: ResourceKernel): void;
  /**
   * Removes the resource. Succeeds when it is already gone, including the pod's namespace.
   * @param attached the other attachments: shared state is removed with the last of them
   */
  remove(resource: R, kernel: ResourceKernel, key: AttachmentKey, attached: Attached): void;
}

/** The engine's knowledge of other attachments. */
export interface Attached {
  /**
   * Returns whether the plugin is attached to the host's end of a link; undefined when the link belongs to no
   * attachment known here.
   */
  has(hostInterface: string, type: string): boolean | undefined;
  /**
   * A failed ADD is undone: everything that it created is removed, including shared objects that a DEL would
   * leave in place.
   */
  readonly isUndone?: boolean;
}
