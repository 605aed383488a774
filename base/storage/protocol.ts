import type { SerialisedError } from '../errors/index.ts';
import type {
  BallastOptions,
  Migration,
  Outlives,
  SqlRow,
  SqlValue,
  Statement,
  WriteResult,
} from './types.ts';

/** The data with which the writer Worker is started. */
export interface WriterData {
  readonly path: string;
  readonly migrations: readonly Migration[];
  readonly busyTimeoutMs: number;
  readonly ballast?: BallastOptions;
}

export type WriterRequest =
  | {
      readonly id: number;
      readonly kind: 'write';
      readonly statements: readonly Statement[];
      readonly outlives: Outlives;
    }
  | {
      readonly id: number;
      readonly kind: 'read';
      readonly sql: string;
      readonly params: readonly SqlValue[];
      readonly first: boolean;
    }
  | { readonly id: number; readonly kind: 'close' };

export type WriteRequest = Extract<WriterRequest, { kind: 'write' }>;

export type WriterAnswer =
  | { readonly id: number; readonly results: readonly WriteResult[] }
  | { readonly id: number; readonly rows: readonly SqlRow[] }
  | { readonly id: number; readonly error: SerialisedError };

/** One message to the main thread: the answers of one round. Id 0 answers the opening itself. */
export type WriterMessage = readonly WriterAnswer[];
