import type { ServePlugins } from './calls/serving.types.ts';
import type { CallPlugin, CheckPlugins } from './calls/plugin-call.ts';
import type { CheckedFolder } from './followed-files/checked-folder.ts';
import type { PodName } from './spec/pod-name.ts';

/** A host port to forward into a pod (CNI conventions, `portMappings`). */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  /**
   * If it is empty or absent, the port is forwarded from every address of the host; 0.0.0.0 and :: mean every
   * address of their family.
   */
  readonly hostIp?: string;
}

/**
 * The class of a link: the traffic that it lets through. It is enforced on the host's end. A new link has the
 * class `deny`.
 */
export type LinkClass = 'deny' | 'none' | 'user' | 'proxy' | 'admin';

/**
 * Peers, and the traffic with them: connections that a pod may open (egress) or accept (ingress). Replies
 * belong to their connection.
 */
export interface LinkRule {
  /** The peers: an address or a CIDR block. */
  readonly cidr: string;
  /** Blocks within `cidr` that are not peers. */
  readonly except?: readonly string[];
  readonly protocol: 'icmp' | 'sctp' | 'tcp' | 'udp';
  /**
   * Destination ports: the peer's for egress, the pod's own for ingress. Both ends are included. For icmp:
   * type * 256 + code.
   */
  readonly ports: { readonly low: number; readonly high: number };
  /** The name of the rule in listings of the kernel's rules. */
  readonly name?: string;
}

/**
 * Restrictions within a link's class. An absent direction is not restricted; an empty list allows no peer.
 */
export interface LinkRules {
  readonly egress?: readonly LinkRule[];
  readonly ingress?: readonly LinkRule[];
  /** The named ports of the containers, for NetworkPolicies that refer to ports by name. */
  readonly namedPorts?: readonly NamedPort[];
}

export interface NamedPort {
  readonly name: string;
  readonly protocol: PortMapping['protocol'];
  readonly port: number;
}

/** A link's class and the rules within it. */
export interface LinkPolicy extends LinkRules {
  readonly class: LinkClass;
}

/** Traffic that was denied, by pod and rule, since the rule was created. */
export interface Denial {
  readonly id: string;
  readonly pod: PodName;
  readonly network: string;
  readonly class: LinkClass;
  readonly direction: 'egress' | 'ingress';
  /** `network.none`, `network.egress`, the name of a NetworkPolicy … */
  readonly rule: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** The state of a link as the kernel's own tables show it, independent of what was requested. */
export interface LinkState {
  readonly id: string;
  readonly hostInterface: string;
  /**
   * `own packets`: as for the classes user, proxy and admin. `unknown`: the tables differ from what was
   * programmed.
   */
  readonly lets: 'nothing' | 'own packets' | 'unknown';
  /** Peer rules that are in force for every connection. An absent direction has no such rules. */
  readonly egress?: readonly LinkRule[];
  readonly ingress?: readonly LinkRule[];
  /** Differences from what was programmed, as text. */
  readonly problems: readonly string[];
}

/** Asks why a connection of a pod does not pass or, without a connection, what was denied to the pod. */
export interface DenialQuestion {
  /** NAMESPACE/NAME, NAME, or a prefix of the sandbox id. */
  readonly pod: string;
  readonly connection?: AskedConnection;
}

export interface AskedConnection {
  /** `egress`: the pod opens the connection. */
  readonly direction: 'egress' | 'ingress';
  /** An address, or a pod of this node in the form that `DenialQuestion.pod` takes. */
  readonly peer: string;
  readonly protocol: LinkRule['protocol'];
  /** Destination port. For icmp: type * 256 + code; if absent, an echo request. */
  readonly port?: number;
}

/** The verdict of one component that may deny the connection. */
export interface ExplainedStep {
  /** The pod (NAMESPACE/NAME) at whose end the verdict applies. */
  readonly pod: string;
  /** The direction as seen from that end. */
  readonly direction: 'egress' | 'ingress';
  /** The rule, as in {@link Denial}. */
  readonly rule: string;
  /** `nothing`: the component restricts nothing here. */
  readonly says: 'allows' | 'denies' | 'nothing' | 'unknown';
  readonly why: string;
  /** The rule that allows the connection, if it has a name. */
  readonly by?: string;
  /** An action or a setting that allows the connection. */
  readonly allow?: string;
}

export interface DenialExplanation {
  /** The sandbox id. */
  readonly id: string;
  readonly pod: PodName;
  readonly network: string;
  readonly addresses: readonly string[];
  readonly class: LinkClass;
  /**
   * Absent if the question named no connection; then `outcome` is absent too. `port` is the port that was
   * asked for; behind a host port it is the pod's port.
   */
  readonly connection?: {
    readonly from: string;
    readonly to: string;
    readonly protocol: LinkRule['protocol'];
    readonly port: number;
  };
  readonly outcome?: 'allowed' | 'denied' | 'unknown';
  /** In the order in which the connection passes them. */
  readonly steps: readonly ExplainedStep[];
  /** Denials of the pod since the rules were created. */
  readonly denied: readonly Denial[];
  /** Differences between the kernel's tables and what was programmed. */
  readonly problems: readonly string[];
}

export interface AttachRequest {
  /** The sandbox id. It names the attachment. */
  readonly id: string;
  /** Path of the pinned network namespace. */
  readonly netns: string;
  /** The pod. `labels` are the pod's labels, for NetworkPolicies. */
  readonly pod: PodName & { readonly labels?: Readonly<Record<string, string>> };
  readonly portMappings: readonly PortMapping[];
  /**
   * Capability arguments beside host ports, by the name of the capability (CNI conventions): `bandwidth`,
   * `dns`, `ips`, `mac`, `ipRanges`, `aliases`, `cgroupPath`, `podLabels` … Each plugin receives only those
   * that it declares.
   */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /** Networks of the conf folder in addition to those that every pod gets. */
  readonly networks?: readonly FurtherNetwork[];
  /**
   * The pod has its own network stack, as in gVisor, which moves the addresses from the pod's end of the link
   * into that stack. The end is not compared with the record.
   */
  readonly ownStack?: boolean;
}

/** An additional interface of a pod. */
export interface FurtherNetwork {
  readonly network: string;
  /** Defaults to `net1`, `net2` … in the order of the networks. */
  readonly interface?: string;
  readonly ips?: readonly string[];
  readonly mac?: string;
}

/** The result of an attach in the terms of CNI 1.1 (`ips`, `routes`, `dns`), with our additions. */
export interface Attachment {
  readonly id: string;
  readonly network: string;
  readonly interface: {
    readonly name: string;
    readonly mac: string;
    readonly sandbox: string;
    readonly mtu: number;
  };
  readonly hostInterface: string;
  /** `address` is in CIDR form. IPv4 comes first. */
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly class: LinkClass;
  readonly portMappings: readonly PortMapping[];
}

/** The ids of attachments whose links differed from the record. */
export interface LinkRepairs {
  /** Attachments whose links are restored. */
  readonly restored: readonly string[];
  /** Attachments whose links could not be restored. */
  readonly lost: readonly string[];
  /**
   * Attachments whose end in the pod still differs from the record, because no repair was requested or the
   * repair failed. Absent if there are none.
   */
  readonly altered?: readonly string[];
}

/**
 * The pod's end of a link that the pod itself or a program of the host changed inside the pod's network
 * namespace.
 */
export interface LinkAlteration {
  readonly id: string;
  readonly pod: string;
  readonly network: string;
  readonly interface: string;
  /** Differences from the record, as text. */
  readonly found: readonly string[];
}

export interface NetworkStatus {
  readonly ready: boolean;
  /** A CamelCase word for the CRI condition. */
  readonly reason: string;
  readonly message: string;
  readonly networks: readonly string[];
  /** Absent if the policies could not be queried. */
  readonly policies?: PoliciesInForce;
}

/** Counts, for metrics. */
export interface NetworkFigures {
  readonly attachments: readonly {
    readonly network: string;
    readonly state: 'attaching' | 'ready' | 'detaching';
    readonly count: number;
  }[];
  /**
   * Addresses that this engine has leased. `size` is the number of addresses that a network of the conf
   * folder can lease.
   */
  readonly leases: readonly { readonly network: string; readonly used: number; readonly size?: number }[];
  /** Differences from the record that were found and repaired since the start. */
  readonly repairs: number;
  /** Links of running pods that are gone and could not be recreated. */
  readonly linksLost: number;
  /** Links of running pods whose end in the pod differs from the record. */
  readonly linksAltered: number;
  readonly policies: PoliciesInForce;
}

/** Kubernetes NetworkPolicies as files and the cluster define them. */
export interface PoliciesInForce {
  readonly policies: number;
  /** Absent: no cluster is followed. */
  readonly cluster?: ClusterInForce;
  /**
   * Files and objects that are not in force as written: one line each, with the place and what applies
   * instead.
   */
  readonly problems: readonly string[];
}

/** The node's knowledge of the cluster whose NetworkPolicies it follows. Counters since the start. */
export interface ClusterInForce {
  /** All objects that the cluster had at the start have arrived. */
  readonly synced: boolean;
  /** Policies of both kinds are not known, so every pod of the node is isolated. */
  readonly isolated: boolean;
  readonly pods: number;
  readonly namespaces: number;
  readonly policies: number;
  /** ClusterNetworkPolicies. */
  readonly clusterPolicies: number;
  /** Sets of peers that rules of this node refer to, and their members. */
  readonly groups: number;
  readonly members: number;
  readonly events: number;
  readonly lists: number;
  /** Failed attempts. */
  readonly failures: number;
  /** Why the API server is not watched. Absent: it is. */
  readonly away?: string;
  /** Advice about `away`. */
  readonly awayFix?: string;
  /** From the arrival of the last change until the kernel had it. Absent: none yet. */
  readonly lagSeconds?: number;
}

export interface CollectOptions {
  /** Also restores addresses, routes and settings that were changed inside the pods' network namespaces. */
  readonly altered?: boolean;
}

/**
 * The one engine behind our CRI, the CNI binaries and docker's remote driver. Every method may be called
 * again after a crash.
 */
export interface NetworkEngine {
  /**
   * Attaches a pod. Idempotent by `id`: an existing attachment is returned. The new link denies all traffic.
   */
  attach(request: AttachRequest): Promise<Attachment>;
  /**
   * Isolates the pod at once, and frees its address once the kernel has released the link. An unknown id is a
   * success.
   */
  detach(id: string): Promise<void>;
  /**
   * Sets the class of a link and the rules within it. A direction that is absent is no longer restricted.
   * Established connections are evaluated again.
   * @throws NETWORK_NOT_ATTACHED · NETWORK_BAD_RULE · NETWORK_RULES_UNSUPPORTED (the host is not a gateway of
   * the network)
   */
  setClass(id: string, linkClass: LinkClass, rules?: LinkRules): Promise<void>;
  /**
   * Returns the name servers that a pod queries (the gateways of a network that it is attached to) and the
   * zone of its names.
   * @param upstreams name servers that are queried on its behalf for all other names; if empty, those of the
   * node
   * @throws NETWORK_NOT_ON_NETWORK
   */
  askNames(
    id: string,
    network: string,
    upstreams: readonly string[],
  ): Promise<{ readonly nameServers: readonly string[]; readonly search: string }>;
  /** Returns what the classes and rules of the links of existing attachments have denied. */
  denials(): Promise<readonly Denial[]>;
  /**
   * Reads the link's class and rules back from the kernel. Returns undefined if no attachment has this id.
   */
  linkState(id: string): Promise<LinkState | undefined>;
  /**
   * Explains why a connection passes or does not pass.
   * @throws NETWORK_POD_UNKNOWN · NETWORK_POD_AMBIGUOUS · NETWORK_BAD_PEER
   */
  explain(question: DenialQuestion): Promise<DenialExplanation>;
  figures(): Promise<NetworkFigures>;
  /**
   * Whether there is anything to balance: in the folder of descriptions, in the database, or joined on a
   * network.
   * @param checkedFolders folders that may be on a file server; a server that does not answer counts as empty
   */
  hasServices(folder: string, checkedFolders: readonly CheckedFolder[]): Promise<boolean>;
  get(id: string): Attachment | undefined;
  list(): readonly Attachment[];
  /**
   * Removes every attachment, link, rule and address whose id is not in `valid`, and restores lost links of
   * the ids in `valid`.
   */
  gc(valid: ReadonlySet<string>, options?: CollectOptions): Promise<LinkRepairs>;
  /**
   * Returns the pods' ends of links that were changed inside the pod's network namespace, as far as a change
   * was noticed.
   */
  alterations(): Promise<readonly LinkAlteration[]>;
  /** Runs a call of one of our CNI plugins from another runtime, in the caller's namespaces. */
  readonly callPlugin: CallPlugin;
  /** Runs CHECK for a whole chain of our CNI plugins. */
  readonly checkPlugins: CheckPlugins;
  /**
   * Serves the processes of our CNI plugins at a listening socket. The calls do not pass through this thread.
   */
  readonly servePlugins: ServePlugins;
  /** Reads the conf folder again. */
  status(): Promise<NetworkStatus>;
  /** `removeAll` also removes the bridge and the tables if no attachment exists. */
  close(options: { readonly removeAll: boolean }): Promise<void>;
}
