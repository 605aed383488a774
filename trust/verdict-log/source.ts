import type { LogRow } from './chain.ts';

/**
 * A log for reading: a database file or an exported file. Reading may throw a PortcullisError when the
 * content is damaged.
 */
export interface LogSource {
  /** A name for messages. */
  readonly name: string;
  /** Returns the rows in order of seq. A row whose content cannot be read as text has its problem instead. */
  rows(): Iterable<LogRow | UnreadableRow>;
  checkpoints(): Iterable<StoredCheckpoint>;
  /** Returns a stored text by its id, or undefined when it is absent. */
  text(kind: TextKind, id: string): string | undefined;
  /** Returns the ids of all stored verdicts. Each must have a row. */
  verdictIds(): Iterable<string>;
  /** Returns what the container reports about its own consistency; empty when there is no damage. */
  damage(): readonly string[];
}

/** `evidence`: the parts that dossiers keep apart. */
export type TextKind = 'verdict' | 'dossier' | 'policy' | 'evidence';

export interface StoredCheckpoint {
  readonly size: number;
  readonly note: string;
}

export interface UnreadableRow {
  readonly seq: number;
  readonly problem: string;
}
