import type { AcceptInput, NewFile } from './accept-input.ts';
import type { Dialect } from '../tuf-metadata/model.ts';
import { acceptNotary } from './accept-notary.ts';
import { acceptTuf } from './accept-tuf.ts';
import { digestsOf } from './digests.ts';
import type { Digests } from './digests.ts';
import { invalidUpdate, isRefusal } from './refusal.ts';
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
  if (isRefusal(outcome)) return outcome;
  const large = outcome.find(({ role, bytes }) => bytes.length > (largest.get(role) ?? bytes.length));
  return large === undefined ? outcome.map(digested) : tooLarge(large);
}

const mebibyte = 1024 * 1024;

/**
 * The largest files of the roles that the main thread reads, in bytes. Clients have similar limits: 1 MiB for
 * a timestamp (const.go of Notary 0.7.0); by default, 512 KB for a root and 2 MB for a snapshot (python-tuf
 * and tuf-js).
 */
const largest: ReadonlyMap<string, number> = new Map([
  ['root', mebibyte],
  ['timestamp', mebibyte],
  ['snapshot', 4 * mebibyte],
]);

const tooLarge = ({ role, bytes }: NewFile): Refusal =>
  invalidUpdate(
    'ErrValidation',
    `the ${role} has ${bytes.length} bytes, and the service accepts at most ${largest.get(role) ?? 0} bytes`,
  );
