import type { SerialisedError } from '../../base/errors/index.ts';
import type { LogLevel } from '../../base/log/index.ts';
import type { QueryResult } from './desk.ts';
import type { ForwardOutcome } from './forwarder.ts';

/** What passes between the name server and its Worker. */
export interface NameServerSettings {
  readonly databasePath: string;
  readonly ttl: number;
  /** Servers for names that are not ours; empty: those of the node's resolv.conf, followed. */
  readonly upstreams: readonly string[];
  /** Questions to them under way. */
  readonly maxForwards: number;
  /** Where names are asked, and where upstreams are; another one than 53 in tests only. */
  readonly port?: number;
  readonly upstreamPort?: number;
  /** Another file than /etc/resolv.conf in tests only. */
  readonly resolvConf?: string;
}

/** Since the start. */
export interface NameFigures {
  readonly queries: Readonly<Record<QueryResult, number>>;
  readonly forwards: Readonly<Record<ForwardOutcome, number>>;
  /** What they took, in all. */
  readonly forwardSeconds: Readonly<Record<ForwardOutcome, number>>;
  /** Addresses at which names are served now. */
  readonly gates: number;
  /** Addresses at which they should be and are not. */
  readonly closedGates: number;
}

export type ToNameServer = { readonly do: 'figures' } | { readonly do: 'close' };

export type FromNameServer =
  | { readonly figures: NameFigures }
  | { readonly started: true }
  | { readonly failed: SerialisedError }
  | { readonly level: Exclude<LogLevel, 'silent'>; readonly fields: object; readonly message: string };
