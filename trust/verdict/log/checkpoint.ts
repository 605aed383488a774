import type { KeyObject } from 'node:crypto';
import { parseNote, signNote } from './signed-note.ts';
import type { NoteKey, SignedNote } from './signed-note.ts';

/** Where a log stood: how many rows, and the hash of the last. */
export interface LogHead {
  readonly size: number;
  /** Hex. */
  readonly hash: string;
}

/** First line of a checkpoint. The head is of a chain, not of a Merkle tree, so the origin says so and no tlog witness takes it for its own. */
const origin = 'portcullis.dev/verdict-log/chain/v1';

/** A checkpoint: origin, size, base64 of the chain's hash, time; signed. */
export function signCheckpoint(head: LogHead, time: Date, key: NoteKey, privateKey: KeyObject): string {
  const hash = Buffer.from(head.hash, 'hex').toString('base64');
  return signNote(`${origin}\n${head.size}\n${hash}\ntime ${time.toISOString()}\n`, key, privateKey);
}

/** Reads a checkpoint; a sentence when it is not one. Its signatures are not judged here. */
export function parseCheckpoint(text: string): { readonly head: LogHead; readonly note: SignedNote } | { readonly problem: string } {
  const note = parseNote(text);
  if ('problem' in note) return note;
  const [first, size = '', hash = '', ...rest] = note.text.split('\n');
  const bytes = Buffer.from(hash, 'base64');
  if (first !== origin) return { problem: `it is not a checkpoint of a verdict log: its first line is not ${origin}` };
  if (!/^(0|[1-9][0-9]{0,14})$/.test(size) || bytes.length !== 32 || bytes.toString('base64') !== hash || rest.length < 1)
    return { problem: 'its size or its hash is malformed' };
  return { head: { size: Number(size), hash: bytes.toString('hex') }, note };
}
