import type { RawCall } from '../../spec/call.ts';
import { maxStdin } from '../../spec/call.ts';
import type { PluginAnswer } from './answer.ts';

/**
 * The protocol of the daemon's socket. Numbers are 64-bit little-endian, because both architectures of the
 * thin client store them so.
 *
 * client → daemon: greeting (8 bytes) · count of arguments · length of the strings · the strings as execve(2)
 * left them on the stack: arguments, then environment, each terminated by NUL. In version 2, with the same
 * message: length · standard input
 * daemon → client: greeting of the same version, with its last byte `i` (send your input; version 1 only) or
 * `n` (no more is needed). At this point the daemon has opened the caller's namespaces.
 * client → daemon, after `i`: length · standard input
 * daemon → client: exit code · length of output · length of error output · both; then it closes.
 *
 * Exactly one side acts on a call: the daemon, or a client that has waited too long. In version 1 the client
 * decides: until it has sent its input, nothing is done. In version 2 the kernel decides: the daemon acts
 * only after the client's socket has taken its greeting. A client that gives up shuts that socket down for
 * receiving first, and then checks whether the greeting arrived before that (unix(7); net/unix/af_unix.c does
 * both under one lock). A daemon that was stopped in between finds the socket shut down (EPIPE) and does
 * nothing.
 *
 * A daemon that knows only version 1 closes the connection on version 2, and the client works without it.
 */
export const greeting = Buffer.from('PCTCNI1\0', 'latin1');
/** Offset of the version in the greeting. */
export const versionAt = 6;
export const versions = { inputOnRequest: '1', withInput: '2' } as const;
export type Version = (typeof versions)[keyof typeof versions];
export const greetingOf = (version: Version, needsInput: boolean): Buffer =>
  Buffer.concat([greeting.subarray(0, versionAt), Buffer.from(`${version}${needsInput ? 'i' : 'n'}`)]);

/** Arguments and environment of a process: the kernel accepts at most 6 MiB (execve(2)). */
export const maxStrings = 6 * 1024 * 1024;
/** The maximum number of bytes that are held in memory for one client. */
export const maxHeld = maxStrings + maxStdin + 1024;
/** Larger than any answer. The thin client has a buffer of this size. */
export const maxAnswer = 1024 * 1024;

export const headSize = 24;
export const lengthSize = 8;

export type Head =
  | { readonly version: Version; readonly argumentCount: number; readonly length: number }
  | 'wrong';

/** Reads the first 24 bytes from a client. */
export function readHead(bytes: Buffer): Head {
  const version = Object.values(versions).find((each) => each.charCodeAt(0) === bytes[versionAt]);
  if (version === undefined || !bytes.subarray(0, versionAt).equals(greeting.subarray(0, versionAt)))
    return 'wrong';
  const [argumentCount, length] = [bytes.readBigUInt64LE(8), bytes.readBigUInt64LE(16)];
  return argumentCount > BigInt(maxStrings) || length > BigInt(maxStrings)
    ? 'wrong'
    : { version, argumentCount: Number(argumentCount), length: Number(length) };
}

/**
 * Reads the length of standard input. Returns undefined if it is larger than a plugin's configuration can be.
 * One extra byte is allowed, so that the answer can report the excess.
 */
export function readInputLength(bytes: Buffer): number | undefined {
  const length = bytes.readBigUInt64LE(0);
  return length > BigInt(maxStdin + 1) ? undefined : Number(length);
}

/**
 * Returns the name by which the client was called, and its environment. If a variable occurs twice, the first
 * one counts, as for getenv(3).
 */
export function readStrings(strings: Buffer, argumentCount: number): Omit<RawCall, 'stdin'> {
  const all = strings.toString('utf8').split('\0');
  const environment: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const entry of all.slice(argumentCount)) {
    const equals = entry.indexOf('=');
    if (equals > 0) environment[entry.slice(0, equals)] ??= entry.slice(equals + 1);
  }
  return { name: (all[0] ?? '').split('/').at(-1) ?? '', environment };
}

/**
 * Returns a call of version 2 that has arrived completely. Returns undefined if more bytes are to come, or if
 * the call violates the protocol.
 */
export function readWhole(bytes: Buffer): RawCall | undefined {
  if (bytes.length < headSize) return undefined;
  const head = readHead(bytes);
  if (head === 'wrong' || head.version !== versions.withInput) return undefined;
  const inputAt = headSize + head.length + lengthSize;
  if (bytes.length < inputAt) return undefined;
  const length = readInputLength(bytes.subarray(inputAt - lengthSize));
  if (length === undefined || bytes.length < inputAt + length) return undefined;
  const strings = bytes.subarray(headSize, headSize + head.length);
  return { ...readStrings(strings, head.argumentCount), stdin: bytes.subarray(inputAt, inputAt + length) };
}

export function writeAnswer({ exitCode, stdout, stderr }: PluginAnswer): Buffer {
  const [out, err] = [Buffer.from(stdout), Buffer.from(stderr)];
  const head = Buffer.alloc(headSize);
  head.writeBigUInt64LE(BigInt(exitCode), 0);
  head.writeBigUInt64LE(BigInt(out.length), 8);
  head.writeBigUInt64LE(BigInt(err.length), 16);
  return Buffer.concat([head, out, err]);
}
