import type { MessagePort } from 'node:worker_threads';
import type { Ballast } from '../../../base/storage/index.ts';
import type { LogLevel } from '../../../base/log/index.ts';
import type { SerialisedError } from '../../../base/errors/index.ts';
import type { ChainJob } from '../../calls/chain.types.ts';
import type { CheckedFolder } from '../../followed-files/checked-folder.ts';
import type { HandedOver } from '../../cni/index.ts';
import type { LoadedNetwork } from '../../spec/conf-folder.ts';
import type { CniResult } from '../../spec/result.ts';
import type {
  Attachment,
  AttachRequest,
  Denial,
  DenialExplanation,
  DenialQuestion,
  LinkAlteration,
  LinkClass,
  LinkRepairs,
  LinkRules,
  LinkState,
  NetworkFigures,
  NetworkStatus,
} from '../../types.ts';
import type { PolicyCluster } from '../../policy/index.ts';
import type { NetworkChoice } from '../../networks/networks.ts';
import type { Caller, PluginCall } from '../../calls/plugin-call.ts';
import type { RemoteChange, RemoteRecords } from '../../database/remote-store.ts';

/** Data with which the Worker starts. Then the engine and the Worker exchange messages. */
export interface EngineWorkerData {
  /**
   * The thread records its descriptors here, so that its owner can close them if the thread is terminated
   * during a call.
   */
  readonly ledger: SharedArrayBuffer;
  /** Brings one message: the {@link WorkerSettings}. */
  readonly settings: MessagePort;
}

/** Data that the Worker needs before its first call. */
export interface WorkerSettings {
  readonly databasePath: string;
  /** Space that detaching and collecting may use on a full disk. */
  readonly ballast?: Ballast;
  /** Absent: only plugin calls are served, and nothing of our own runtime is read or repaired. */
  readonly confDir?: string;
  /** Folder of NetworkPolicies. */
  readonly policyDir: string;
  /** Absent: policies come from the folder only. */
  readonly policyCluster?: PolicyCluster;
  /**
   * How to read folders that may be on a file system whose server is dead. Other folders are read directly.
   */
  readonly checkedFolders?: readonly CheckedFolder[];
  /** Lines of the level `debug` are written. */
  readonly debug: boolean;
  /** The choice of our own runtime. Absent: one network, attached by ourselves if possible. */
  readonly choice?: NetworkChoice;
}

export type Call =
  | { readonly do: 'start' }
  | { readonly do: 'attach'; readonly request: AttachRequest }
  /** The plugins have finished a job that `attach` returned. */
  | { readonly do: 'joined'; readonly id: string; readonly results: readonly CniResult[] }
  /** Detaches, or returns what plugins must remove first. */
  | { readonly do: 'leave'; readonly id: string }
  | { readonly do: 'left'; readonly id: string }
  | {
      readonly do: 'ask-names';
      readonly id: string;
      readonly network: string;
      readonly upstreams: readonly string[];
    }
  | { readonly do: 'set-class'; readonly id: string; readonly class: LinkClass; readonly rules: LinkRules }
  | { readonly do: 'denials' }
  | { readonly do: 'explain'; readonly question: DenialQuestion }
  | { readonly do: 'figures' }
  | { readonly do: 'link-state'; readonly id: string }
  | { readonly do: 'gc'; readonly valid: ReadonlySet<string>; readonly altered?: boolean }
  | { readonly do: 'alterations' }
  | { readonly do: 'status' }
  /** The daemon asks this every few seconds, and no caller waits for it. */
  | {
      readonly do: 'has-services';
      readonly folder: string;
      readonly checkedFolders: readonly CheckedFolder[];
    }
  | { readonly do: 'plugin'; readonly call: PluginCall }
  /** CHECKs of plugins of one chain, for one attachment. */
  | { readonly do: 'check'; readonly calls: readonly PluginCall[] }
  /** Reads what remote drivers of libnetwork were asked for. Without a network: the names of the networks. */
  | { readonly do: 'remote-records'; readonly caller: Caller; readonly network?: string }
  | { readonly do: 'remote-write'; readonly change: RemoteChange }
  /** Plugin calls arrive at this listening socket. The thread owns its descriptor from now on. */
  | { readonly do: 'listen'; readonly fd: number }
  /** Answered when every call that was read has been answered. */
  | { readonly do: 'stop-listening' }
  | { readonly do: 'close'; readonly removeAll: boolean };

export interface Answer {
  /** Attachments that this call changed. */
  readonly changed?: readonly Attachment[];
  /** Every existing attachment, if the call may have changed many. */
  readonly all?: readonly Attachment[];
  readonly removed?: string;
  /** For `gc`. */
  readonly repairs?: LinkRepairs;
  /** The next job of the plugins: add for `attach`, remove for `leave`. */
  readonly job?: ChainJob;
  /** For `attach`: what an earlier attempt left, and plugins must remove first. */
  readonly stale?: ChainJob;
  /** For `gc`: unclaimed attachments that plugins made, and the claimed ones. */
  readonly unclaimed?: readonly ChainJob[];
  readonly claimed?: readonly ChainJob[];
  /** For `status` and `gc`: the networks of the conf folder, as far as it can be read. */
  readonly networks?: readonly LoadedNetwork[];
  readonly status?: NetworkStatus;
  readonly denials?: readonly Denial[];
  readonly alterations?: readonly LinkAlteration[];
  readonly figures?: NetworkFigures;
  readonly hasServices?: boolean;
  readonly linkState?: LinkState;
  readonly explanation?: DenialExplanation;
  /** For `ask-names`. */
  readonly nameServers?: readonly string[];
  readonly remote?: RemoteRecords & { readonly namespaceId: string; readonly names: readonly string[] };
  /** For a plugin's ADD. */
  readonly result?: CniResult;
}

export interface ToWorker {
  readonly sequence: number;
  readonly call: Call;
}

/** A call that the engine answers from its own database. */
export type OwnCall = Exclude<
  Call,
  {
    do: 'check' | 'has-services' | 'listen' | 'stop-listening' | 'plugin' | 'remote-records' | 'remote-write';
  }
>;

/** Whether the thread has more to do after the call. The daemon asks about services every two seconds. */
export const isWork = ({ call }: ToWorker): boolean => call.do !== 'has-services' && call.do !== 'close';

export type FromWorker =
  | { readonly sequence: number; readonly answer: Answer }
  | { readonly sequence: number; readonly error: SerialisedError }
  /** A connection of that socket that the thread does not serve. */
  | { readonly handedOver: HandedOver }
  /** An endpoint has a name, so there are names to answer. Sent once. */
  | { readonly named: true }
  | { readonly level: Exclude<LogLevel, 'silent'>; readonly fields: object; readonly message: string };
