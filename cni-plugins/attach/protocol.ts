import type { Ballast } from '../../base/storage/index.ts';
import type { LogLevel } from '../../base/log/index.ts';
import type { SerialisedError } from '../../base/errors/index.ts';
import type { ChainJob } from '../invoke/chain.types.ts';
import type { GatedFolder } from '../followed-files/folder-gate.ts';
import type { HandedOver } from '../serve/service.ts';
import type { LoadedNetwork } from '../spec/conf-folder.ts';
import type { CniResult } from '../spec/result.ts';
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
} from '../types.ts';
import type { NetworkChoice } from './networks.ts';
import type { Caller, PluginCall } from './plugin-call.ts';
import type { RemoteChange, RemoteRecords } from './remote-store.ts';

/** What passes between the engine and its Worker. */
export interface WorkerSettings {
  /** Where the thread writes down its descriptors, for its owner to close them when it was ended in a call. */
  readonly ledger: SharedArrayBuffer;
  readonly databasePath: string;
  /** What detaching and collecting may spend on a full disk. */
  readonly ballast?: Ballast;
  /** Absent: only plugin calls are served, nothing of our own runtime is read or repaired. */
  readonly confDir?: string;
  /** Folder of NetworkPolicies. */
  readonly policyDir: string;
  /** How folders are read that may lie on a file system whose server is dead. Any other is read where it is. */
  readonly gates?: readonly GatedFolder[];
  /** Lines of the level `debug` are written. */
  readonly debug: boolean;
  /** Of our own runtime; absent: one network, by ourselves where we can. */
  readonly choice?: NetworkChoice;
}

export type Call =
  | { readonly do: 'start' }
  | { readonly do: 'attach'; readonly request: AttachRequest }
  /** The plugins of a job that `attach` gave are done. */
  | { readonly do: 'joined'; readonly id: string; readonly results: readonly CniResult[] }
  /** Detaches, or says what plugins must take back first. */
  | { readonly do: 'leave'; readonly id: string }
  | { readonly do: 'left'; readonly id: string }
  | { readonly do: 'ask-names'; readonly id: string; readonly network: string; readonly upstreams: readonly string[] }
  | { readonly do: 'set-class'; readonly id: string; readonly class: LinkClass; readonly rules: LinkRules }
  | { readonly do: 'denials' }
  | { readonly do: 'explain'; readonly question: DenialQuestion }
  | { readonly do: 'figures' }
  | { readonly do: 'link-state'; readonly id: string }
  | { readonly do: 'gc'; readonly valid: ReadonlySet<string>; readonly altered?: boolean }
  | { readonly do: 'alterations' }
  | { readonly do: 'status' }
  | { readonly do: 'plugin'; readonly call: PluginCall }
  /** CHECKs of plugins of one chain, for one attachment. */
  | { readonly do: 'check'; readonly calls: readonly PluginCall[] }
  /** What remote drivers of libnetwork's were asked for; without a network: which networks there are. */
  | { readonly do: 'remote-records'; readonly caller: Caller; readonly network?: string }
  | { readonly do: 'remote-write'; readonly change: RemoteChange }
  /** Plugin calls come at this listening socket, whose descriptor is the thread's from now on. */
  | { readonly do: 'listen'; readonly fd: number }
  /** Answered when every call that was read has its answer. */
  | { readonly do: 'listen-no-more' }
  | { readonly do: 'close'; readonly removeAll: boolean };

export interface Answer {
  /** Attachments that this call changed. */
  readonly changed?: readonly Attachment[];
  /** Every attachment that stands, where the call may have changed many. */
  readonly all?: readonly Attachment[];
  readonly removed?: string;
  /** Of `gc`. */
  readonly repairs?: LinkRepairs;
  /** What plugins must do next: for `attach` add, for `leave` remove. */
  readonly job?: ChainJob;
  /** Of `attach`: what an earlier try left, and plugins must remove first. */
  readonly stale?: ChainJob;
  /** Of `gc`: attachments by plugins that stand in nobody's name, and the others. */
  readonly unclaimed?: readonly ChainJob[];
  readonly claimed?: readonly ChainJob[];
  /** Of `status` and `gc`: what the conf folder asks for, as far as it can be read. */
  readonly networks?: readonly LoadedNetwork[];
  readonly status?: NetworkStatus;
  readonly denials?: readonly Denial[];
  readonly alterations?: readonly LinkAlteration[];
  readonly figures?: NetworkFigures;
  readonly linkState?: LinkState;
  readonly explanation?: DenialExplanation;
  /** Of `ask-names`. */
  readonly nameServers?: readonly string[];
  readonly remote?: RemoteRecords & { readonly realm: string; readonly names: readonly string[] };
  /** Of a plugin's ADD. */
  readonly result?: CniResult;
}

export interface ToWorker {
  readonly sequence: number;
  readonly call: Call;
}

export type FromWorker =
  | { readonly sequence: number; readonly answer: Answer }
  | { readonly sequence: number; readonly error: SerialisedError }
  /** A connection of that socket that the thread does not serve. */
  | { readonly handedOver: HandedOver }
  /** Something has a name: there is something to answer. Told once. */
  | { readonly named: true }
  | { readonly level: Exclude<LogLevel, 'silent'>; readonly fields: object; readonly message: string };
