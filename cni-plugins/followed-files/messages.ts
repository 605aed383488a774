/** What the thread that follows a folder and the Worker that reads its files exchange. */

export interface SourceText {
  readonly file: string;
  readonly text: string;
}

/** What one file says, or why it says nothing. Plain values: they cross threads. */
export type FileResult<Reading extends object> = Reading | Unreadable;

export interface Unreadable {
  /** Lines of text with their places. */
  readonly unreadable: readonly string[];
  /** It has nothing but comments and markers. */
  readonly isEmpty?: true;
}

/** What is read of one folder at most. */
export interface FolderLimits {
  /** Bytes of a file. */
  readonly file: number;
  /** Bytes of all files that are not larger than `file`. */
  readonly folder: number;
  /** How many files. */
  readonly files: number;
}

export interface ReadFile {
  readonly folder: string;
  readonly name: string;
  /** The file is read only as it was when it was looked at. */
  readonly stamp: string;
}

export interface ReadAnswer<Reading extends object> {
  readonly name: string;
  readonly stamp: string;
  /** Absent: the file has changed since, or it was not looked at. */
  readonly result?: FileResult<Reading>;
  /** Why it was not looked at, which says nothing of the file. */
  readonly failed?: string;
}

/** The first message: what ends the Worker from then on is a file. */
export type Ready = 'ready';
