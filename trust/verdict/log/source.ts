import type { LogRow } from './chain.ts';

/** A log to look at: a database file or an exported one. Reading may throw a PortcullisError of damaged content. */
export interface LogSource {
  /** What it is, for messages. */
  readonly name: string;
  /** In order of seq. A row whose content can not be read as text has its problem instead. */
  rows(): Iterable<LogRow | UnreadableRow>;
  checkpoints(): Iterable<StoredCheckpoint>;
  /** A stored text by its id; undefined when it is not there. */
  text(kind: TextKind, id: string): string | undefined;
  /** Ids of all stored verdicts: none may be there without a row. */
  verdictIds(): Iterable<string>;
  /** What the container says of its own consistency; empty when it has nothing to say. */
  damage(): readonly string[];
}

/** `evidence`: what dossiers keep apart. */
export type TextKind = 'verdict' | 'dossier' | 'policy' | 'evidence';

export interface StoredCheckpoint {
  readonly size: number;
  readonly note: string;
}

export interface UnreadableRow {
  readonly seq: number;
  readonly problem: string;
}
