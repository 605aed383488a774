/**
 * A position in a file. Line and column count from 1; both are 0 for a document without lines of its own,
 * such as a request.
 */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Problem {
  readonly position: Position;
  /** A path such as `rules[0].images`; empty for the document itself. */
  readonly path: string;
  readonly message: string;
  /** The file could not be read: no line applies, and the position is its beginning. */
  readonly unread?: true;
  /** The advice, as a complete clause, such as: did you mean `images`? */
  readonly fix?: string;
  /** The part with this problem was not checked further, so that it can have other problems. */
  readonly hidesOthers?: true;
}

export type PathSegment = string | number;

/** One document of a file, as plain values, with the positions of its parts. */
export interface Document<T = unknown> {
  readonly value: T;
  readonly file: string;
  /**
   * Returns the position of the value at `path` (or of its key). If there is nothing at `path`, returns the
   * position of the nearest enclosing part.
   */
  positionOf(path: readonly PathSegment[], part?: 'value' | 'key'): Position;
  /** Returns the path that the file has for a path of `value`. Absent if the two are the same. */
  writtenPath?(path: readonly PathSegment[]): readonly PathSegment[];
}

export interface ParseLimits {
  /** Maximum size in bytes of UTF-8. Default: 1 MiB. */
  readonly bytes?: number;
  /** Maximum nesting. Default: 64. */
  readonly depth?: number;
  /** Maximum number of documents in one file. Default: 1000. */
  readonly documents?: number;
  /** Whether integers with a leading zero are octal, as in YAML 1.1 and for the programs of Kubernetes. */
  readonly octal?: boolean;
}

/** A JSON Schema, draft 2020-12. */
export type JsonSchema = Readonly<Record<string, unknown>>;
