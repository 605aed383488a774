/** A place in a file; line and column count from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Problem {
  readonly position: Position;
  /** As in `rules[0].images`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
  /** What to do: a complete clause, such as: did you mean `images`? */
  readonly fix?: string;
}

export type PathSegment = string | number;

/** One document of a file, as plain values, with the places its parts came from. */
export interface Document<T = unknown> {
  readonly value: T;
  readonly file: string;
  /** Where the value at `path` stands (or its key); the nearest enclosing part when there is nothing at `path`. */
  positionOf(path: readonly PathSegment[], part?: 'value' | 'key'): Position;
}

export interface ParseLimits {
  /** Bytes of UTF-8; 1 MiB unless told. */
  readonly bytes?: number;
  /** Nesting; 64 unless told. */
  readonly depth?: number;
  /** Documents in one file; 1000 unless told. */
  readonly documents?: number;
}
