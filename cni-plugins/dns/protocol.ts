import type { SerialisedError } from '../../base/errors/index.ts';
import type { LogLevel } from '../../base/log/index.ts';
import type { QueryResult } from './desk.ts';
import type { ForwardOutcome } from './forwarder.ts';

/** What passes between the name server and its Worker. */
export interface NameServerSettings {
  readonly databasePath: string;
  readonly domain: string;
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
  /** Of those that were answered or failed: how many took at most so many seconds ({@link forwardBuckets}), their sum, their number. */
  readonly forwardSeconds: { readonly atMost: readonly number[]; readonly sum: number; readonly count: number };
  /** Addresses at which names are served now. */
  readonly gates: number;
  /** Addresses at which they should be and are not. */
  readonly closedGates: number;
}

export const forwardBuckets = [0.001, 0.005, 0.02, 0.1, 0.5, 1, 3] as const;

export type ToNameServer = { readonly do: 'figures' } | { readonly do: 'close' };

export type FromNameServer =
  | { readonly figures: NameFigures }
  | { readonly started: true }
  | { readonly failed: SerialisedError }
  | { readonly level: Exclude<LogLevel, 'silent'>; readonly fields: object; readonly message: string };
