import { createHash } from 'node:crypto';
import { decodeBase64 } from '../json/strict-json.ts';
import { rawOfEd25519 } from '../keys/ed25519.ts';
import { verifyWith } from '../x509/signature-algorithm.ts';
import type { TransparencyLog } from './trusted-root.ts';

/** The content of a checkpoint (C2SP tlog-checkpoint): the log's size and root hash. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Buffer;
  /** The signed text. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

interface NoteSignature {
  readonly name: string;
  /** The first four bytes of the key's id. */
  readonly hint: Buffer;
  readonly signature: Buffer;
}

const maximumSignatures = 64;
const maximumText = 64 * 1024;

/**
 * Reads a checkpoint in a signed note (C2SP signed-note): text, an empty line, signature lines.
 * @throws Error with a sentence that states the fault
 */
export function readCheckpoint(note: string): Checkpoint {
  if (note.length > maximumText) throw new Error('the checkpoint is too large');
  const gap = note.lastIndexOf('\n\n');
  if (gap < 0) throw new Error('the checkpoint has no signatures');
  const text = note.slice(0, gap + 1);
  const [origin = '', size = '', root = ''] = text.split('\n');
  if (origin === '') throw new Error('the checkpoint names no origin');
  if (!/^(0|[1-9]\d{0,18})$/.test(size)) throw new Error('the checkpoint names no size');
  const hash = decodeBase64(root);
  if (hash?.length !== 32) throw new Error('the checkpoint names no root hash');
  const lines = note.slice(gap + 2).split('\n');
  if (lines.pop() !== '' || lines.length === 0 || lines.length > maximumSignatures)
    throw new Error("the checkpoint's signatures are malformed");
  return { origin, size: BigInt(size), root: hash, text, signatures: lines.map(readSignature) };
}

function readSignature(line: string): NoteSignature {
  const match = /^\u2014 (\S+) (\S+)$/.exec(line);
  const bytes = decodeBase64(match?.[2]);
  if (match === null || bytes === undefined || bytes.length < 5)
    throw new Error("one of the checkpoint's signatures is malformed");
  return { name: match[1] as string, hint: bytes.subarray(0, 4), signature: bytes.subarray(4) };
}

/**
 * Returns whether the log itself signed the checkpoint. Other parties (witnesses) may sign too; their
 * signatures are ignored. The name of the signature must match the origin: Rekor v1 writes `NAME - TREE` as
 * origin, Rekor v2 the name alone.
 */
export function isSignedByLog(checkpoint: Checkpoint, log: TransparencyLog): boolean {
  const { origin, text } = checkpoint;
  return checkpoint.signatures.some(
    ({ name, hint, signature }) =>
      hintsOf(log, name).some((id) => hint.equals(id)) &&
      (origin === name || origin.startsWith(`${name} - `)) &&
      verifyWith(log.digest, Buffer.from(text, 'utf8'), log.key, signature),
  );
}

/**
 * Returns the hints by which a signature may refer to the log's key: the ids in the root, or the id that C2SP
 * signed-note computes for Ed25519.
 */
function hintsOf({ id, checkpointId = id, key }: TransparencyLog, name: string): readonly Buffer[] {
  const ids = [id, checkpointId].map((text) => Buffer.from(text, 'base64'));
  if (key.asymmetricKeyType === 'ed25519') {
    ids.push(createHash('sha256').update(`${name}\n\u0001`).update(rawOfEd25519(key)).digest());
  }
  return ids.map((bytes) => bytes.subarray(0, 4));
}
