import type { PortcullisError } from '../errors/index.ts';
import type { Ballast } from './ballast.ts';

/** What SQLite stores. Integers are read as `number`, and as `bigint` only outside the safe range. Blobs are read as Uint8Array. */
export type SqlValue = string | number | bigint | null | Uint8Array;
export type SqlRow = Record<string, SqlValue>;

export interface Statement {
  readonly sql: string;
  readonly params?: readonly SqlValue[];
  /** The whole call is rolled back with STORAGE_CONFLICT when this statement changed another count of rows. */
  readonly expectChanges?: number;
}

export interface WriteResult {
  /** Rows inserted, updated or deleted by the statement itself. */
  readonly changes: number;
  /** Rows of RETURNING, or of a SELECT inside the transaction. */
  readonly rows: readonly SqlRow[];
}

/** One step of a schema. Versions run from 1 without a gap; the file's PRAGMA user_version says how many were applied. */
export interface Migration {
  readonly version: number;
  readonly sql: string;
}

/**
 * What a write must outlive when it resolves: the loss of power (unless told), or only the end of this process. The second does not wait for
 * the disk: after a loss of power it may be gone, with all that was written after it in the same way, and never in part.
 */
export type Outlives = 'power-loss' | 'process';

/** An open database. Failures are PortcullisErrors whose codes begin with STORAGE_. */
export interface Database {
  /** Sees every write that was asked for before it. */
  all<Row extends object = SqlRow>(sql: string, params?: readonly SqlValue[]): Promise<Row[]>;
  get<Row extends object = SqlRow>(sql: string, params?: readonly SqlValue[]): Promise<Row | undefined>;
  /** One transaction (BEGIN IMMEDIATE), durable when it resolves; rolled back whole when it rejects. Calls of one moment share one fsync. */
  write(statements: readonly Statement[], outlives?: Outlives): Promise<readonly WriteResult[]>;
  /** Waits for what is under way, then closes; later calls fail with STORAGE_CLOSED. */
  close(): Promise<void>;
}

export interface BallastOptions extends Ballast {
  /** Milliseconds from opening to the first filling; 5000 unless given. */
  readonly fillAfterMs?: number;
}

export interface OpenDatabaseOptions {
  /** The database file; its folder is made (0700) when absent. */
  readonly path: string;
  readonly migrations: readonly Migration[];
  /** How long to wait for another process's write lock, in milliseconds; 5000 unless told. */
  readonly busyTimeoutMs?: number;
  /** What opening, and calls that only delete or update rows, may spend on a full disk. Made and filled in the background. */
  readonly ballast?: BallastOptions;
  /** Called once when the Worker ends although nobody closed the database: every later call fails with STORAGE_WRITER_LOST. */
  readonly onLost?: (error: PortcullisError) => void;
}
