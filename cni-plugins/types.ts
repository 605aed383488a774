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

export interface AttachRequest {
  /** The sandbox id: attachments are named by it. */
  readonly id: string;
  /** Path of the pinned network namespace. */
  readonly netns: string;
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly portMappings: readonly PortMapping[];
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

export interface NetworkStatus {
  readonly ready: boolean;
  /** CamelCase, for the CRI condition. */
  readonly reason: string;
  readonly message: string;
  readonly networks: readonly string[];
}

/** The one engine behind our CRI, the CNI binaries and docker's remote driver. Every method may be called again after a crash. */
export interface NetworkEngine {
  /** Idempotent by `id`: an attachment that stands is returned. The link is born denying all. */
  attach(request: AttachRequest): Promise<Attachment>;
  /** Isolates at once; frees the address once the kernel let go. Unknown id: success. */
  detach(id: string): Promise<void>;
  setClass(id: string, linkClass: LinkClass): Promise<void>;
  get(id: string): Attachment | undefined;
  list(): readonly Attachment[];
  /** Removes every attachment, link, rule and address whose id is not in `valid`. */
  gc(valid: ReadonlySet<string>): Promise<void>;
  /** Reads the conf folder afresh. */
  status(): Promise<NetworkStatus>;
  /** `removeAll`: also the bridge and tables, when no attachment stands. */
  close(options: { readonly removeAll: boolean }): Promise<void>;
}
