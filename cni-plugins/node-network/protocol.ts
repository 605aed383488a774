/** Messages between the main thread and the thread of the node's network. */

export interface NodeNetworkStatus {
  readonly ready: boolean;
  /** The word and the sentence of NetworkReady, while it is not ready. */
  readonly reason: string;
  readonly message: string;
  /** The subnets of this node's pods. */
  readonly subnets: readonly string[];
  /** Number of routes to subnets of other nodes. */
  readonly routes: number;
  /** Statements in Node objects that this node ignores, each with the reason; limited in number. */
  readonly refused: readonly string[];
  readonly refusedCount: number;
  /** Why the Node objects are not watched. */
  readonly away?: string;
}

/** Calls of the owner to the thread. */
export type NodeNetworkCalls = {
  /** Passes on the pod subnets that the kubelet sent by UpdateRuntimeConfig, in CIDR form. */
  readonly runtimeConfig: (podCidrs: readonly string[]) => Promise<void>;
  readonly status: () => NodeNetworkStatus;
};

/** Calls of the thread to its owner. */
export type NodeNetworkOwner = {
  readonly log: (level: 'info' | 'warn', fields: object, message: string) => void;
  /** The status changed. */
  readonly changed: (status: NodeNetworkStatus) => void;
  /** Rejects when the file system of the folder does not answer. */
  readonly folderAnswers: (folder: string) => Promise<void>;
};
