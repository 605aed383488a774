import type { OnlineKey } from './online-keys.ts';
import type { Upload } from './upload.ts';

export interface AcceptInput {
  readonly gun: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly uploads: readonly Upload[];
  /** The collection's current files by role: root, snapshot, timestamp, targets and delegated roles. */
  readonly stored: ReadonlyMap<string, Buffer>;
  readonly online: readonly OnlineKey[];
}

export interface NewFile {
  readonly role: string;
  readonly version: number;
  readonly bytes: Buffer;
}
