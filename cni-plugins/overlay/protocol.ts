import type { ServiceControl } from '../services/index.ts';

/** Messages between the main thread and the overlay's thread. */

export interface PeerStatus {
  readonly host: string;
  readonly underlay: string;
  readonly subnets: readonly string[];
  /** Why no packets are sent to it. */
  readonly unreachable?: string;
  /** etcd lost its record; packets are still sent to it until the hold time is over. */
  readonly held: boolean;
  /** The encrypted tunnel to it. */
  readonly tunnel?: {
    /** Absent when there was no handshake yet. */
    readonly lastHandshake?: string;
    readonly receivedBytes: number;
    readonly sentBytes: number;
  };
}

export interface OverlayStatus {
  readonly name: string;
  readonly host: string;
  /** `joining` until the first answer of etcd since the start. */
  readonly state: 'joining' | 'connected' | 'away';
  /** Why it is not connected, or what etcd refused. */
  readonly trouble?: string;
  readonly underlay?: string;
  readonly subnets: readonly string[];
  readonly mtu?: number;
  readonly encryption: 'wireguard' | 'none';
  /** The public key of this host, base64. */
  readonly publicKey?: string;
  readonly peers: readonly PeerStatus[];
  /** Number of differences in the kernel that were found and corrected since the start. */
  readonly corrected: number;
  /** Changes received from etcd since the start. */
  readonly changes: number;
  /** Number of published descriptions. */
  readonly services: number;
  /** Number of services that pods of any host joined. */
  readonly networkServices: number;
  /** Whose keys in etcd this host's credentials may write. Absent until it was probed. */
  readonly writes?: 'this-host' | 'every-host';
  /**
   * Keys of hosts that are ignored, services that are refused, and requests of members on this host that are
   * refused: each with the reason.
   */
  readonly refused: readonly string[];
}

/** Requests that a command may make. */
export type OverlayQuestion =
  | { readonly do: 'status' }
  /** Makes the next key of this host its current key. */
  | { readonly do: 'rotate-key' }
  /**
   * Removes the state of this host in the network: in etcd, in the kernel and on disk. A restarted host joins
   * again.
   */
  | { readonly do: 'leave' }
  /** Descriptions of services, as text. All of them are applied, or none. */
  | { readonly do: 'spread'; readonly file: string; readonly text: string }
  | { readonly do: 'take-back'; readonly names: readonly string[] }
  /** Removes from etcd the keys of a host that is permanently gone. */
  | { readonly do: 'release'; readonly host: string };

/** Calls of the owner to the thread. */
export type OverlayCalls = {
  readonly ask: (question: OverlayQuestion) => Promise<object>;
};

/** Calls of the thread to its owner: this host's services are in another thread. */
export type OverlayOwner = {
  readonly log: (level: 'info' | 'warn', fields: object, message: string) => void;
  readonly replace: ServiceControl['replace'];
  readonly put: ServiceControl['put'];
  readonly remove: ServiceControl['remove'];
  /** Rejects when the file system of the folder does not answer. */
  readonly folderAnswers: (folder: string) => Promise<void>;
};
