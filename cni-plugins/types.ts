import type { ServePlugins } from './serve/serving.types.ts';
import type { CallPlugin, CheckPlugins } from './attach/plugin-call.ts';

/** A host port to forward into a pod (CNI conventions, `portMappings`). */
export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  readonly hostPort: number;
  /** Empty or absent: every address of the host. */
  readonly hostIp?: string;
}

/** What a link lets through, enforced on the host's side. A link is born `deny`. */
export type LinkClass = 'deny' | 'none' | 'user' | 'proxy' | 'admin';

/** Peers and what is spoken with them: connections that a pod may make (egress) or take (ingress). Answers belong to their connection. */
export interface LinkRule {
  /** The peers: an address or a block. */
  readonly cidr: string;
  /** Blocks of it that are no peers. */
  readonly except?: readonly string[];
  readonly protocol: 'icmp' | 'sctp' | 'tcp' | 'udp';
  /** Of whoever is connected to: the peer's for egress, the pod's own for ingress. Both ends included; of icmp: type * 256 + code. */
  readonly ports: { readonly low: number; readonly high: number };
  /** What lists of the kernel's rules call it. */
  readonly name?: string;
}

/** Within a link's class. A direction that is absent is not restricted; an empty list: nobody. */
export interface LinkRules {
  readonly egress?: readonly LinkRule[];
  readonly ingress?: readonly LinkRule[];
  /** The containers' ports that have names, for NetworkPolicies that speak of them. */
  readonly namedPorts?: readonly NamedPort[];
}

export interface NamedPort {
  readonly name: string;
  readonly protocol: PortMapping['protocol'];
  readonly port: number;
}

/** What a link lets through. */
export interface LinkPolicy extends LinkRules {
  readonly class: LinkClass;
}

/** What was denied, by pod and rule, since the rule was made. */
export interface Denial {
  readonly id: string;
  readonly pod: PodName;
  readonly network: string;
  readonly class: LinkClass;
  readonly direction: 'egress' | 'ingress';
  /** `network.none`, `network.egress`, a NetworkPolicy's name … */
  readonly rule: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** What the kernel's own tables hold of a link, whatever was asked of them. */
export interface LinkState {
  readonly id: string;
  readonly hostInterface: string;
  /** `own packets`: as the classes user, proxy and admin. `unknown`: the tables are not as they were made. */
  readonly lets: 'nothing' | 'own packets' | 'unknown';
  /** Rules of peers that are in force for every connection; a direction that is absent has none that are. */
  readonly egress?: readonly LinkRule[];
  readonly ingress?: readonly LinkRule[];
  /** What is not as it was made, in words. */
  readonly problems: readonly string[];
}

/** Why a connection of a pod does not pass, or, without one, what was denied of the pod. */
export interface DenialQuestion {
  /** NAMESPACE/NAME, NAME, or the beginning of the sandbox's id. */
  readonly pod: string;
  readonly connection?: AskedConnection;
}

export interface AskedConnection {
  /** `egress`: the pod begins it. */
  readonly direction: 'egress' | 'ingress';
  /** An address, or a pod of this node, called as above. */
  readonly peer: string;
  readonly protocol: LinkRule['protocol'];
  /** Of whoever is connected to; of icmp: type * 256 + code, an echo request where it is absent. */
  readonly port?: number;
}

/** What one thing that may deny says of the connection. */
export interface ExplainedStep {
  /** NAMESPACE/NAME: at whose end. */
  readonly pod: string;
  /** As that end sees it. */
  readonly direction: 'egress' | 'ingress';
  /** As in {@link Denial}. */
  readonly rule: string;
  /** `nothing`: it restricts nothing here. */
  readonly says: 'allows' | 'denies' | 'nothing' | 'unknown';
  readonly why: string;
  /** Which rule grants it, where it has a name. */
  readonly by?: string;
  /** What to do or to write to allow it. */
  readonly allow?: string;
}

export interface DenialExplanation {
  /** The sandbox. */
  readonly id: string;
  readonly pod: PodName;
  readonly network: string;
  readonly addresses: readonly string[];
  readonly class: LinkClass;
  /** Absent where none was asked about, and the outcome with it. `port` as asked, behind a host port that of the pod. */
  readonly connection?: { readonly from: string; readonly to: string; readonly protocol: LinkRule['protocol']; readonly port: number };
  readonly outcome?: 'allowed' | 'denied' | 'unknown';
  /** In the order in which the connection meets them. */
  readonly steps: readonly ExplainedStep[];
  /** Of the pod, since the rules were made. */
  readonly denied: readonly Denial[];
  /** What the kernel's tables have other than as they were made. */
  readonly problems: readonly string[];
}

export interface PodName {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

export interface AttachRequest {
  /** The sandbox id: attachments are named by it. */
  readonly id: string;
  /** Path of the pinned network namespace. */
  readonly netns: string;
  /** Labels: of the pod, for NetworkPolicies. */
  readonly pod: PodName & { readonly labels?: Readonly<Record<string, string>> };
  readonly portMappings: readonly PortMapping[];
  /**
   * What plugins may be told beside host ports, by the name of the capability (CNI conventions): `bandwidth`, `dns`, `ips`, `mac`, `ipRanges`,
   * `aliases`, `cgroupPath`, `podLabels` … Each plugin is told what it declares.
   */
  readonly capabilities?: Readonly<Record<string, unknown>>;
  /** Networks of the conf folder beside those that every pod gets. */
  readonly networks?: readonly FurtherNetwork[];
}

/** One more interface of a pod. */
export interface FurtherNetwork {
  readonly network: string;
  /** Without it `net1`, `net2` … in the order of the networks. */
  readonly interface?: string;
  readonly ips?: readonly string[];
  readonly mac?: string;
}

/** The result of an attach, as CNI 1.1 says it (`ips`, `routes`, `dns`), with what we add. */
export interface Attachment {
  readonly id: string;
  readonly network: string;
  readonly interface: { readonly name: string; readonly mac: string; readonly sandbox: string; readonly mtu: number };
  readonly hostInterface: string;
  /** CIDR each, IPv4 first. */
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes: readonly { readonly dst: string; readonly gw?: string }[];
  readonly class: LinkClass;
  readonly portMappings: readonly PortMapping[];
}

/** Attachments, by their ids, whose links stood otherwise than recorded. */
export interface LinkRepairs {
  /** That stand again. */
  readonly restored: readonly string[];
  /** That could not be given back. */
  readonly lost: readonly string[];
  /** Whose end in the pod is not as it was made, and stays so: nobody asked to give it back, or that failed. Absent where there are none. */
  readonly altered?: readonly string[];
}

/** The pod's end of a link that was changed inside the pod's network namespace, by the pod itself or by a program of the host. */
export interface LinkAlteration {
  readonly id: string;
  readonly pod: string;
  readonly network: string;
  readonly interface: string;
  /** What is not as it was made, in words. */
  readonly found: readonly string[];
}

export interface NetworkStatus {
  readonly ready: boolean;
  /** CamelCase, for the CRI condition. */
  readonly reason: string;
  readonly message: string;
  readonly networks: readonly string[];
  /** Absent where nobody could be asked. */
  readonly policies?: PoliciesInForce;
}

/** Counts, for metrics. */
export interface NetworkFigures {
  readonly attachments: readonly {
    readonly network: string;
    readonly state: 'attaching' | 'ready' | 'detaching';
    readonly count: number;
  }[];
  /** Addresses that this engine has given away; `size`: how many there are, of a network of the conf folder. */
  readonly leases: readonly { readonly network: string; readonly used: number; readonly size?: number }[];
  /** What was found other than recorded, and made right, since the start. */
  readonly repairs: number;
  /** Links of pods that run which are gone and could not be made again. */
  readonly linksLost: number;
  /** Links of pods that run whose end in the pod is other than it was made. */
  readonly linksAltered: number;
  readonly policies: PoliciesInForce;
}

/** Kubernetes' NetworkPolicies, as the files of their folder say them. */
export interface PoliciesInForce {
  readonly policies: number;
  /** Files and objects that are not in force as they are written: one line each, with the place and what holds instead. */
  readonly problems: readonly string[];
}

export interface CollectOptions {
  /** Also gives back addresses, routes and settings that were changed inside pods' network namespaces. */
  readonly altered?: boolean;
}

/** The one engine behind our CRI, the CNI binaries and docker's remote driver. Every method may be called again after a crash. */
export interface NetworkEngine {
  /** Idempotent by `id`: an attachment that stands is returned. The link is born denying all. */
  attach(request: AttachRequest): Promise<Attachment>;
  /** Isolates at once; frees the address once the kernel let go. Unknown id: success. */
  detach(id: string): Promise<void>;
  /**
   * The class, and the rules within it: what is absent now is not restricted from now on. Connections that stand are judged anew.
   * @throws NETWORK_NOT_ATTACHED · NETWORK_BAD_RULE · NETWORK_RULES_UNSUPPORTED (the host is no gateway of the network)
   */
  setClass(id: string, linkClass: LinkClass, rules?: LinkRules): Promise<void>;
  /**
   * Where a pod asks for names: the gateways of a network that it is on, and the zone of its names.
   * @param upstreams name servers that are asked on its behalf for all other names; none: those of the node
   * @throws NETWORK_NOT_ON_NETWORK
   */
  askNames(
    id: string,
    network: string,
    upstreams: readonly string[],
  ): Promise<{ readonly nameServers: readonly string[]; readonly search: string }>;
  /** What the links' classes and rules have denied, of attachments that stand. */
  denials(): Promise<readonly Denial[]>;
  /** Reads the link's class and rules back from the kernel; undefined: nothing is attached by this id. */
  linkState(id: string): Promise<LinkState | undefined>;
  /** @throws NETWORK_POD_UNKNOWN · NETWORK_POD_AMBIGUOUS · NETWORK_BAD_PEER */
  explain(question: DenialQuestion): Promise<DenialExplanation>;
  figures(): Promise<NetworkFigures>;
  get(id: string): Attachment | undefined;
  list(): readonly Attachment[];
  /** Removes every attachment, link, rule and address whose id is not in `valid`, and gives back links that those in it lost. */
  gc(valid: ReadonlySet<string>, options?: CollectOptions): Promise<LinkRepairs>;
  /** Pods' ends of links that were changed inside the pod's network namespace, as far as it was noticed. */
  alterations(): Promise<readonly LinkAlteration[]>;
  /** A call of one of our CNI plugins by somebody else's runtime, in the caller's namespaces. */
  readonly callPlugin: CallPlugin;
  /** CHECK of a whole chain of them. */
  readonly checkPlugins: CheckPlugins;
  /** Serves the processes of our CNI plugins at a listening socket, without a way through this thread. */
  readonly servePlugins: ServePlugins;
  /** Reads the conf folder afresh. */
  status(): Promise<NetworkStatus>;
  /** `removeAll`: also the bridge and tables, when no attachment stands. */
  close(options: { readonly removeAll: boolean }): Promise<void>;
}
