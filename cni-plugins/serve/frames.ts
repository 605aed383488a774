import type { RawCall } from '../spec/call.ts';
import { maxStdin } from '../spec/call.ts';
import type { PluginAnswer } from './answer.ts';

/**
 * What passes over the daemon's socket. Numbers are of 64 bits, little-endian, as both machines of the thin client store them.
 *
 * client → daemon: greeting (8 bytes) · count of arguments · length of the strings · the strings as execve(2) left them on the stack:
 * arguments, then environment, each ended by NUL
 * daemon → client: greeting with its last byte `i` (send your input) or `n` (it is not needed). By then the daemon holds the caller's
 * namespaces, and nothing was done: until here the client may still go its own way.
 * client → daemon, after `i`: length · standard input
 * daemon → client: exit code · length of output · length of error output · both; then it closes.
 */
export const greeting = Buffer.from('PCTCNI1\0', 'latin1');
export const greetingOf = (needsInput: boolean): Buffer => Buffer.concat([greeting.subarray(0, 7), Buffer.from(needsInput ? 'i' : 'n')]);

/** Arguments and environment of a process: the kernel takes 6 MiB at most (execve(2)). */
export const maxStrings = 6 * 1024 * 1024;
/** What is ever held of one client. */
export const maxHeld = maxStrings + maxStdin + 1024;
/** More than any answer; the thin client holds this much. */
export const maxAnswer = 1024 * 1024;

export const headSize = 24;
export const lengthSize = 8;

export type Head = { readonly argumentCount: number; readonly length: number } | 'wrong';

/** The first 24 bytes of a client. */
export function readHead(bytes: Buffer): Head {
  if (!bytes.subarray(0, 7).equals(greeting.subarray(0, 7))) return 'wrong';
  const [argumentCount, length] = [bytes.readBigUInt64LE(8), bytes.readBigUInt64LE(16)];
  return argumentCount > BigInt(maxStrings) || length > BigInt(maxStrings)
    ? 'wrong'
    : { argumentCount: Number(argumentCount), length: Number(length) };
}

/** Undefined when it is more than a plugin's configuration can be. One byte more is let through, so that the answer can say so. */
export function readInputLength(bytes: Buffer): number | undefined {
  const length = bytes.readBigUInt64LE(0);
  return length > BigInt(maxStdin + 1) ? undefined : Number(length);
}

/** The name by which the client was called, and its environment; of a variable that comes twice the first counts, as for getenv(3). */
export function readStrings(strings: Buffer, argumentCount: number): Omit<RawCall, 'stdin'> {
  const all = strings.toString('utf8').split('\0');
  const environment: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const entry of all.slice(argumentCount)) {
    const equals = entry.indexOf('=');
    if (equals > 0) environment[entry.slice(0, equals)] ??= entry.slice(equals + 1);
  }
  return { name: (all[0] ?? '').split('/').at(-1) ?? '', environment };
}

export function writeAnswer({ exitCode, stdout, stderr }: PluginAnswer): Buffer {
  const [out, err] = [Buffer.from(stdout), Buffer.from(stderr)];
  const head = Buffer.alloc(headSize);
  head.writeBigUInt64LE(BigInt(exitCode), 0);
  head.writeBigUInt64LE(BigInt(out.length), 8);
  head.writeBigUInt64LE(BigInt(err.length), 16);
  return Buffer.concat([head, out, err]);
}
