/** Messages between the thread that follows a folder and the Worker that reads its files. */

export interface SourceText {
  readonly file: string;
  readonly text: string;
}

/** The content of one file, or the reason why it has none. Plain values, because they cross threads. */
export type FileResult<Reading extends object> = Reading | Unreadable;

export interface Unreadable {
  /** Lines of text with their positions. */
  readonly unreadable: readonly string[];
  /** The file has nothing but comments and markers. */
  readonly isEmpty?: true;
}

/** Limits for reading one folder. */
export interface FolderLimits {
  /** Largest file, in bytes. */
  readonly file: number;
  /** Largest total size, in bytes, of all files that are not larger than `file`. */
  readonly folder: number;
  /** The highest number of files. */
  readonly files: number;
}

export interface ReadFile {
  readonly folder: string;
  readonly name: string;
  /** The file is read only if it still has this stamp. */
  readonly stamp: string;
}

export interface ReadAnswer<Reading extends object> {
  readonly name: string;
  readonly stamp: string;
  /** Absent: the file has changed since, or it was not read. */
  readonly result?: FileResult<Reading>;
  /** Why the file was not read. It says nothing about the file itself. */
  readonly failed?: string;
}

/** The first message. If the Worker ends after it, a file is the cause. */
export type Ready = 'ready';
