import type { ServiceControl } from '../services/model.ts';

/** Between the main thread and the overlay's. */

export interface PeerStatus {
  readonly host: string;
  readonly underlay: string;
  readonly subnets: readonly string[];
  /** Nothing is sent to it, because of this. */
  readonly unreachable?: string;
  /** etcd forgot it; it is sent to until the hold time is over. */
  readonly held: boolean;
  /** Where it is sent to encrypted. */
  readonly tunnel?: {
    /** Absent: there was none yet. */
    readonly lastHandshake?: string;
    readonly receivedBytes: number;
    readonly sentBytes: number;
  };
}

export interface OverlayStatus {
  readonly name: string;
  readonly host: string;
  /** `joining` until etcd was heard for the first time since the start. */
  readonly state: 'joining' | 'connected' | 'away';
  /** Why it is not connected, or what etcd refused. */
  readonly trouble?: string;
  readonly underlay?: string;
  readonly subnets: readonly string[];
  readonly mtu?: number;
  readonly encryption: 'wireguard' | 'none';
  /** Of this host, base64. */
  readonly publicKey?: string;
  readonly peers: readonly PeerStatus[];
  /** What was found otherwise in the kernel and put right, since the start. */
  readonly corrected: number;
  /** Changes heard from etcd since the start. */
  readonly changes: number;
  /** Descriptions that were spread. */
  readonly services: number;
  /** That pods of any host joined. */
  readonly networkServices: number;
  /** Whose keys in etcd this host's credentials may write. Absent: it was not found out yet. */
  readonly writes?: 'this-host' | 'every-host';
  /** Keys of hosts that are passed over, services that are refused, and what members on this host ask for and have not: each with why. */
  readonly refused: readonly string[];
}

/** What a command may ask. */
export type OverlayQuestion =
  | { readonly do: 'status' }
  /** The next key of this host is its key from now on. */
  | { readonly do: 'rotate-key' }
  /** Takes away what this host has of the network: in etcd, in the kernel, on the disk. It takes part again when it is started anew. */
  | { readonly do: 'leave' }
  /** Descriptions of services, as text; all or none. */
  | { readonly do: 'spread'; readonly file: string; readonly text: string }
  | { readonly do: 'take-back'; readonly names: readonly string[] }
  /** Gives back what a host that is gone for good has in etcd. */
  | { readonly do: 'release'; readonly host: string };

/** What the thread does for its owner. */
export type OverlayCalls = {
  readonly ask: (question: OverlayQuestion) => Promise<object>;
};

/** What its owner does for the thread: this host's services are in a thread of their own. */
export type OverlayOwner = {
  readonly log: (level: 'info' | 'warn', fields: object, message: string) => void;
  readonly replace: ServiceControl['replace'];
  readonly put: ServiceControl['put'];
  readonly remove: ServiceControl['remove'];
};
