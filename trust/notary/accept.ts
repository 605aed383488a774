import type { AcceptInput, NewFile } from './accept-input.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { acceptNotary } from './accept-notary.ts';
import { acceptTuf } from './accept-tuf.ts';
import { digestsOf } from './digests.ts';
import type { Digests } from './digests.ts';
import { isRefusal } from './refusal.ts';
import type { Refusal } from './refusal.ts';

/** A file with its digests: Notary's clients request files by digest. */
export type DigestedFile = NewFile & Digests;

export function digested({ role, version, bytes }: NewFile): DigestedFile {
  const { sha256, sha512 } = digestsOf(bytes);
  return { role, version, bytes, sha256, sha512 };
}

/**
 * Buffers arrive from another thread as plain Uint8Arrays. Returns a Buffer over the same memory, not a copy.
 */
export const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

/**
 * Judges an upload. Pure.
 * @returns the files to keep, including those that the service signed, or the reason for the refusal
 */
export function accept(dialect: Dialect, input: AcceptInput): readonly DigestedFile[] | Refusal {
  const outcome = dialect === 'notary' ? acceptNotary(input) : acceptTuf(input);
  return isRefusal(outcome) ? outcome : outcome.map(digested);
}
