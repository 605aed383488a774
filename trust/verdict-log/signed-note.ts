import { createHash, createPublicKey, sign, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { decodeBase64 } from '../json/strict-json.ts';
import { ed25519FromRaw, rawOfEd25519 } from '../keys/ed25519.ts';
import { edwardsKeyFlaw } from '../keys/edwards-point.ts';

/** A public key that signs notes. Source: C2SP signed-note. */
export interface NoteKey {
  readonly name: string;
  /** First four bytes of sha256(name LF 0x01 key), hex. */
  readonly id: string;
  readonly object: KeyObject;
  /** `NAME+ID+BASE64`, one line: the form in which keys are published. */
  readonly text: string;
}

/** A note: a text of lines that each end with LF, and signatures over it. */
export interface SignedNote {
  readonly text: string;
  readonly signatures: readonly {
    readonly name: string;
    readonly keyId: string;
    readonly signature: Uint8Array;
  }[];
}

const ed25519Algorithm = 1;
const maximumNoteBytes = 64 * 1024;

/**
 * Returns the public note key of an Ed25519 private key.
 * @param name without blanks and `+` (C2SP signed-note, "Format")
 */
export function noteKey(name: string, privateKey: KeyObject): NoteKey {
  return keyOfRaw(name, rawOfEd25519(createPublicKey(privateKey)));
}

/** Parses `NAME+ID+BASE64`. Returns undefined when it is not an Ed25519 note key, or must not be used. */
export function parseNoteKey(text: string): NoteKey | undefined {
  const match = /^([^\s+]{1,255})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+=*)$/.exec(text.trim());
  const bytes = decodeBase64(match?.[3]);
  if (match === null || bytes?.[0] !== ed25519Algorithm || bytes.length !== 33) return undefined;
  const key = keyOfRaw(match[1] as string, bytes.subarray(1));
  return key.id === match[2] && edwardsKeyFlaw(key.object) === undefined ? key : undefined;
}

function keyOfRaw(name: string, raw: Uint8Array): NoteKey {
  const typed = Buffer.concat([Buffer.of(ed25519Algorithm), raw]);
  const id = createHash('sha256').update(`${name}\n`).update(typed).digest('hex').slice(0, 8);
  return { name, id, object: ed25519FromRaw(raw), text: `${name}+${id}+${typed.toString('base64')}` };
}

/**
 * Returns `text` with a blank line and one signature line.
 * @param text ends with LF and has no empty line
 */
export function signNote(text: string, key: NoteKey, privateKey: KeyObject): string {
  const signature = Buffer.concat([Buffer.from(key.id, 'hex'), sign(null, Buffer.from(text), privateKey)]);
  return `${text}\n— ${key.name} ${signature.toString('base64')}\n`;
}

/** Parses a note without checking its signatures. Returns a sentence when it is malformed. */
export function parseNote(note: string): SignedNote | { readonly problem: string } {
  if (note.length > maximumNoteBytes) return { problem: 'it is too long for a signed note' };
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n'))
    return { problem: 'it is not a signed note: text, an empty line, signature lines' };
  const signatures = note
    .slice(split + 2, -1)
    .split('\n')
    .map((line) => {
      const match = /^\u2014 ([^\s+]+) ([A-Za-z0-9+/]+=*)$/.exec(line);
      const bytes = decodeBase64(match?.[2]);
      if (match === null || bytes === undefined || bytes.length < 5) return undefined;
      return {
        name: match[1] as string,
        keyId: bytes.subarray(0, 4).toString('hex'),
        signature: bytes.subarray(4),
      };
    });
  const whole = signatures.filter((one) => one !== undefined);
  if (whole.length !== signatures.length) return { problem: 'one of its signature lines is malformed' };
  return { text: note.slice(0, split + 1), signatures: whole };
}

/**
 * Returns the key of `keys` that signed the note, or undefined. Ignores signatures by unknown keys. A wrong
 * signature by a known key makes the result undefined.
 */
export function noteSignedBy(note: SignedNote, keys: readonly NoteKey[]): NoteKey | undefined {
  let signer: NoteKey | undefined;
  for (const { name, keyId, signature } of note.signatures) {
    const key = keys.find((one) => one.name === name && one.id === keyId);
    if (key === undefined) continue;
    if (!verify(null, Buffer.from(note.text), key.object, signature)) return undefined;
    signer = key;
  }
  return signer;
}
