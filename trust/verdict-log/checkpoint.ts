import type { KeyObject } from 'node:crypto';
import { parseNote, signNote } from './signed-note.ts';
import type { NoteKey, SignedNote } from './signed-note.ts';

/** The state of a log: the number of rows, and the hash of the last row. */
export interface LogHead {
  readonly size: number;
  /** Hex. */
  readonly hash: string;
}

/**
 * First line of a checkpoint. The head belongs to a chain, not to a Merkle tree. The origin says so, so that
 * no tlog witness mistakes it for one of its own.
 */
const origin = 'portcullis.dev/verdict-log/chain/v1';

/** Returns a signed checkpoint: origin, size, base64 of the chain's hash, time. */
export function signCheckpoint(head: LogHead, time: Date, key: NoteKey, privateKey: KeyObject): string {
  const hash = Buffer.from(head.hash, 'hex').toString('base64');
  return signNote(`${origin}\n${head.size}\n${hash}\ntime ${time.toISOString()}\n`, key, privateKey);
}

/** Parses a checkpoint. Returns a sentence when it is malformed. Does not check its signatures. */
export function parseCheckpoint(
  text: string,
): { readonly head: LogHead; readonly note: SignedNote } | { readonly problem: string } {
  const note = parseNote(text);
  if ('problem' in note) return note;
  const [first, size = '', hash = '', ...rest] = note.text.split('\n');
  const bytes = Buffer.from(hash, 'base64');
  if (first !== origin)
    return { problem: `it is not a checkpoint of a verdict log: its first line is not ${origin}` };
  if (
    !/^(0|[1-9][0-9]{0,14})$/.test(size) ||
    bytes.length !== 32 ||
    bytes.toString('base64') !== hash ||
    rest.length < 1
  )
    return { problem: 'its size or its hash is malformed' };
  return { head: { size: Number(size), hash: bytes.toString('hex') }, note };
}
