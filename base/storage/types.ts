import type { PortcullisError } from '../errors/index.ts';
import type { Ballast } from './ballast.ts';

/**
 * A value that SQLite stores. Integers are read as `number`, and as `bigint` only outside the safe range.
 * Blobs are read as Uint8Array.
 */
export type SqlValue = string | number | bigint | null | Uint8Array;
export type SqlRow = Record<string, SqlValue>;

export interface Statement {
  readonly sql: string;
  readonly params?: readonly SqlValue[];
  /**
   * The whole call is rolled back with STORAGE_CONFLICT if this statement changed a different number of rows.
   */
  readonly expectChanges?: number;
}

export interface WriteResult {
  /** Rows inserted, updated or deleted by the statement itself. */
  readonly changes: number;
  /** Rows of RETURNING, or of a SELECT inside the transaction. */
  readonly rows: readonly SqlRow[];
}

/**
 * One step of a schema. Versions run from 1 without a gap. The file's PRAGMA user_version says how many were
 * applied.
 */
export interface Migration {
  readonly version: number;
  readonly sql: string;
}

/**
 * The event that a write survives once it resolves: a power failure (default), or only the end of this
 * process. The second does not wait for the disk: after a power failure the write may be lost, together with
 * all later writes of the same type, but never partially.
 */
export type Outlives = 'power-loss' | 'process';

/** An open database. Failures are PortcullisErrors whose codes begin with STORAGE_. */
export interface Database {
  /** Sees every write that was requested before it. */
  all<Row extends object = SqlRow>(sql: string, params?: readonly SqlValue[]): Promise<Row[]>;
  get<Row extends object = SqlRow>(sql: string, params?: readonly SqlValue[]): Promise<Row | undefined>;
  /**
   * Runs one transaction (BEGIN IMMEDIATE). It is durable when the promise resolves, and rolled back
   * completely when it rejects. Concurrent calls share one fsync.
   */
  write(statements: readonly Statement[], outlives?: Outlives): Promise<readonly WriteResult[]>;
  /** Waits for pending calls, then closes. Later calls fail with STORAGE_CLOSED. */
  close(): Promise<void>;
}

export interface BallastOptions extends Ballast {
  /** Milliseconds from opening to the first filling. Default: 5000. */
  readonly fillAfterMs?: number;
}

export interface OpenDatabaseOptions {
  /** The database file. Its folder is created (0700) if absent. */
  readonly path: string;
  readonly migrations: readonly Migration[];
  /** How long to wait for another process's write lock, in milliseconds. Default: 5000. */
  readonly busyTimeoutMs?: number;
  /**
   * Space that opening, and calls that only delete or update rows, may spend on a full disk. Created and
   * filled in the background.
   */
  readonly ballast?: BallastOptions;
  /**
   * Called once if the Worker ends although the database was not closed: every later call fails with
   * STORAGE_WRITER_LOST.
   */
  readonly onLost?: (error: PortcullisError) => void;
}
