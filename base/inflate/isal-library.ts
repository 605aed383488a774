import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { crc32, deflateRawSync } from 'node:zlib';
import { koffi, unterminated } from '../process/index.ts';

/** The calls of libisal that inflate, on an `inflate_state` of {@link isalState}. */
export interface Isal {
  /** The file that was loaded. */
  readonly path: string;
  init(state: Buffer): void;
  /**
   * Runs in this thread. Returns 0, or a negative number for a stream that is refused.
   * @param held the buffers that the state points to
   */
  inflate(state: Buffer, held: readonly Buffer[]): number;
  /** Runs in a thread of libuv's pool. @param held the buffers that the state points to */
  inflateApart(state: Buffer, held: readonly Buffer[]): Promise<number>;
}

/**
 * `struct inflate_state` of igzip_lib.h, which is the same in all releases of soname 2 since 2.30, on 64-bit
 * machines. Only these fields are used.
 */
export const isalState = {
  bytes: 87_368,
  nextOut: 0,
  availOut: 8,
  nextIn: 16,
  availIn: 32,
  /** Bits that were read from the input and not used. */
  readInLength: 36,
  blockState: 21_160,
  crcFlag: 21_172,
  crc: 21_176,
} as const;
/** ISAL_GZIP_NO_HDR: raw deflate data, with the CRC-32 of the output in `crc`. */
export const rawWithCrc = 2;
/** ISAL_BLOCK_FINISH: the data is inflated and all of it was written. */
export const blockFinish = 5;

/**
 * Where packages of x86-64 distributions install the library. No variable and no configuration adds a folder.
 * Not on arm64, where releases up to 2.31 end some streams too early (intel/isa-l issue 316).
 */
const places = ['/usr/lib/x86_64-linux-gnu', '/usr/lib64', '/usr/lib'].map(
  (folder) => `${folder}/libisal.so.2`,
);
const firstRelease = 30;

/** The library, or why it is not used. */
export type IsalAnswer = { readonly isal: Isal } | { readonly why: string };

let answer: IsalAnswer | undefined;

/** Loads the library once for each thread, and tries it. */
export function findIsal(): IsalAnswer {
  return (answer ??= process.arch === 'x64' ? loadFirst(places) : { why: 'libisal is used on x86-64 only' });
}

/** Loads the first of these files that exists. A file that exists and is not accepted ends the search. */
export function loadFirst(paths: readonly string[]): IsalAnswer {
  for (const path of paths) {
    try {
      return loadFrom(realpathSync(path));
    } catch (thrown) {
      if (!isMissing(thrown))
        return {
          why: `${path} cannot be loaded: ${thrown instanceof Error ? thrown.message : String(thrown)}`,
        };
    }
  }
  return { why: 'libisal is not installed' };
}

function isMissing(thrown: unknown): boolean {
  return (
    thrown instanceof Error && 'code' in thrown && (thrown.code === 'ENOENT' || thrown.code === 'ENOTDIR')
  );
}

/** @param path without symbolic links: the name of the file contains the release */
function loadFrom(path: string): IsalAnswer {
  const release = Number(/^libisal\.so\.2\.0\.(\d{1,4})$/u.exec(basename(path))?.[1] ?? NaN);
  if (!(release >= firstRelease) || !lstatSync(path).isFile())
    return { why: `${path} is not libisal 2.${firstRelease} or later` };
  const open = changeable(path);
  if (open !== undefined)
    return { why: `users other than root can change ${open}, and libisal would be loaded from there` };
  const isal = bind(path);
  return passes(isal) ? { isal } : { why: `${path} does not inflate as expected` };
}

/** Returns the file or the folder above it that others than root can change. */
function changeable(path: string): string | undefined {
  const facts = lstatSync(path);
  // In a sticky folder, only the owner of an entry may rename or remove it.
  const isSticky = facts.isDirectory() && (facts.mode & 0o1000) !== 0;
  if (facts.uid !== 0 || ((facts.mode & 0o022) !== 0 && !isSticky)) return path;
  return path === '/' ? undefined : changeable(dirname(path));
}

function bind(path: string): Isal {
  return unterminated(() => {
    const library = koffi().load(path);
    const init = library.func('isal_inflate_init', 'void', ['void *']);
    const inflate = library.func('isal_inflate', 'int', ['void *']);
    return {
      path,
      init,
      inflate(state, held) {
        const call = [state, ...held];
        running.add(call);
        try {
          return inflate(state) as number;
        } finally {
          running.delete(call);
        }
      },
      inflateApart: (state, held) =>
        new Promise((resolve, reject) => {
          const call = [state, ...held];
          running.add(call);
          inflate.async(state, (failure: Error | null, returned: number) => {
            running.delete(call);
            if (failure === null) resolve(returned);
            else reject(failure);
          });
        }),
    };
  });
}

/** The buffers that running native code uses. V8 does not see that use, and would free them. */
const running = new Set<readonly Buffer[]>();

/** Points the state to the input and the output of the next call. */
export function pointTo(
  state: Buffer,
  input: Buffer,
  from: number,
  to: number,
  output: Buffer,
  at: number,
  end: number,
): void {
  state.writeBigUInt64LE(addressOf(output) + BigInt(at), isalState.nextOut);
  state.writeUInt32LE(end - at, isalState.availOut);
  state.writeBigUInt64LE(addressOf(input) + BigInt(from), isalState.nextIn);
  state.writeUInt32LE(to - from, isalState.availIn);
}

/** Returns where the last call stopped to read: an index of `input`. */
export function readUpTo(state: Buffer, input: Buffer): number {
  return Number(state.readBigUInt64LE(isalState.nextIn) - addressOf(input));
}

function addressOf(buffer: Buffer): bigint {
  return BigInt(koffi().address(buffer));
}

const canaryBytes = 4096;
const canary = Buffer.alloc(canaryBytes, 0xa5);

/**
 * Checks what is known about the library on a small stream, in small pieces: the fields of the state are
 * where they are expected, nothing is written behind the state and the output, and a damaged stream is
 * refused.
 */
function passes(isal: Isal): boolean {
  const text = Buffer.from(
    Array.from({ length: 6000 }, (_, index) => `${index % 7}:${(index * index) % 1009};`).join(''),
  );
  const raw = deflateRawSync(text, { level: 6 });
  const bent = Buffer.from(raw);
  // The type of the first block becomes 3, which does not exist.
  bent[0] = (bent[0] as number) | 6;
  return tryStream(isal, raw)?.equals(text) === true && tryStream(isal, bent) === undefined;
}

/** Returns the inflated bytes; undefined: refused, or something is not as expected. */
function tryStream(isal: Isal, raw: Buffer): Buffer | undefined {
  const state = Buffer.concat([Buffer.alloc(isalState.bytes), canary]);
  const output = Buffer.concat([Buffer.alloc(4096), canary]);
  const parts: Buffer[] = [];
  isal.init(state);
  if (state.readUInt32LE(isalState.crcFlag) !== 0 || state.readUInt32LE(isalState.blockState) !== 0)
    return undefined;
  state.writeUInt32LE(rawWithCrc, isalState.crcFlag);
  let from = 0;
  // Each call uses up its input or fills the output.
  for (let calls = 0; calls < raw.length + 100; calls += 1) {
    const to = Math.min(raw.length, from + 701);
    pointTo(state, raw, from, to, output, 0, 4096);
    if (isal.inflate(state, [raw, output]) !== 0) return undefined;
    const produced = 4096 - state.readUInt32LE(isalState.availOut);
    const next = readUpTo(state, raw);
    if (next < from || next > to || state.readUInt32LE(isalState.availIn) !== to - next) return undefined;
    if (!endsInCanary(output) || !endsInCanary(state)) return undefined;
    parts.push(Buffer.from(output.subarray(0, produced)));
    from = next;
    if (state.readUInt32LE(isalState.blockState) === blockFinish) {
      const unused = state.readInt32LE(isalState.readInLength) >> 3;
      const whole = Buffer.concat(parts);
      return next - unused === raw.length && state.readUInt32LE(isalState.crc) === crc32(whole)
        ? whole
        : undefined;
    }
  }
  return undefined;
}

function endsInCanary(buffer: Buffer): boolean {
  return buffer.subarray(-canaryBytes).equals(canary);
}
