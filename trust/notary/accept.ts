import type { Dialect } from '../tuf/metadata/model.ts';
import { acceptNotary } from './accept-notary.ts';
import { acceptTuf } from './accept-tuf.ts';
import type { OnlineKey } from './online-keys.ts';
import type { Refusal } from './refusal.ts';

/** One file as a publisher posted it. */
export interface Upload {
  /** The part's file name; `.json` at its end does not count. */
  readonly name: string;
  readonly bytes: Buffer;
}

export interface AcceptInput {
  readonly gun: string;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly uploads: readonly Upload[];
  /** The collection's current files by role: root, snapshot, timestamp, targets and delegated ones. */
  readonly stored: ReadonlyMap<string, Buffer>;
  readonly online: readonly OnlineKey[];
}

export interface NewFile {
  readonly role: string;
  readonly version: number;
  readonly bytes: Buffer;
}

/** Judges an upload; pure. @returns the files to keep, those that the service signed among them, or why it is refused */
export function accept(dialect: Dialect, input: AcceptInput): readonly NewFile[] | Refusal {
  return dialect === 'notary' ? acceptNotary(input) : acceptTuf(input);
}
