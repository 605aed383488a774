import type { SerialisedError } from '../../base/errors/index.ts';
import type { LogLevel } from '../../base/log/index.ts';
import type { QueryResult } from './query-handler.ts';
import type { ApiPlace } from '../../base/kubernetes/index.ts';
import type { ForwardOutcome } from './forwarder.ts';

/** The messages between the name server and its Worker. */
export interface NameServerSettings {
  readonly databasePath: string;
  readonly ttl: number;
  /** Servers for names that we do not serve. Empty: those of the node's resolv.conf, which is followed. */
  readonly upstreams: readonly string[];
  /** The most forwarded questions in progress. */
  readonly maxForwards: number;
  /** Port at which names are served, and port of the upstreams; other than 53 in tests only. */
  readonly port?: number;
  readonly upstreamPort?: number;
  /** Another file than /etc/resolv.conf; in tests only. */
  readonly resolvConf?: string;
  /** Absent: names of no cluster are answered. */
  readonly cluster?: ClusterNamesSettings;
}

/** A cluster whose names are answered to the pods of this node. */
export interface ClusterNamesSettings {
  readonly place: ApiPlace;
  /** The address that pods ask. It is added to the loopback link. */
  readonly address: string;
  /** `cluster.local` */
  readonly domain: string;
  readonly podNames: boolean;
}

/** Counters since the start. */
export interface NameFigures {
  readonly queries: Readonly<Record<QueryResult, number>>;
  readonly forwards: Readonly<Record<ForwardOutcome, number>>;
  /** Total duration. */
  readonly forwardSeconds: Readonly<Record<ForwardOutcome, number>>;
  /** Addresses at which names are served now. */
  readonly listeners: number;
  /** Addresses at which names should be served and are not. */
  readonly closedListeners: number;
}

export type ToNameServer = { readonly do: 'figures' } | { readonly do: 'close' };

export type FromNameServer =
  | { readonly figures: NameFigures }
  | { readonly started: true }
  | { readonly failed: SerialisedError }
  | { readonly level: Exclude<LogLevel, 'silent'>; readonly fields: object; readonly message: string };
