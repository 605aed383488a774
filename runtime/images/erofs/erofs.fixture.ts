import { createHash } from 'node:crypto';
import { closeSync, lstatSync, openSync, readSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';
import { isPortcullisError } from '../../../base/errors/index.ts';
import { getXattr, listXattr } from '../../../base/kernel/index.ts';
import type { Kernel } from '../../../base/kernel/index.ts';
import { defaultLimits } from '../limits/limits.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { sha256 } from '../test-kit.ts';
import { unpackLayer } from '../unpack/unpack-layer.ts';
import { createJobCell, createWorkClock } from '../unpack/work-clock.ts';
import { openLayerFile } from './check-layer.ts';
import { encodeLayer } from './encode-layer.ts';
import type { EncodedLayer } from './encode-layer.ts';
import { mountLayer } from './mount-layer.ts';

export interface LayerOptions {
  /** The archive as stored: by default it is not compressed. */
  readonly blob?: Uint8Array;
  /** Roots of the layers below, top-most first. */
  readonly lowers?: readonly string[];
  readonly limits?: Partial<ImageLimits>;
}

interface Request {
  readonly blob: string;
  readonly diffId: string;
  readonly lowest: boolean;
  readonly limits: ImageLimits;
}

function requestOf(path: string, tar: Uint8Array, { blob, lowers = [], limits = {} }: LayerOptions): Request {
  writeFileSync(`${path}.blob`, blob ?? tar);
  return {
    blob: `${path}.blob`,
    diffId: sha256(tar),
    lowest: lowers.length === 0,
    limits: { ...defaultLimits, ...limits },
  };
}

/** Writes a layer file at `path`. */
export function encode(path: string, tar: Uint8Array, options: LayerOptions = {}): Promise<EncodedLayer> {
  const request = requestOf(path, tar, options);
  const clock = createWorkClock(createJobCell(), request.diffId);
  const lowers = (): Promise<readonly string[]> => Promise.resolve(options.lowers ?? []);
  return encodeLayer({ ...request, path }, lowers, clock, new AbortController().signal);
}

/** Unpacks the same archive into a folder. Returns the root of the layer. */
export async function unpack(
  path: string,
  tar: Uint8Array,
  options: LayerOptions = {},
): Promise<{ root: string; dependent: boolean }> {
  const request = requestOf(path, tar, options);
  const clock = createWorkClock(createJobCell(), request.diffId);
  const lowers = (): Promise<readonly string[]> => Promise.resolve(options.lowers ?? []);
  const { dependent } = await unpackLayer(
    { ...request, staging: path },
    lowers,
    clock,
    new AbortController().signal,
  );
  return { root: `${path}/fs`, dependent };
}

export interface MountedLayer extends EncodedLayer {
  readonly root: string;
  readonly path: string;
  unmount(): void;
}

/** Encodes an archive and mounts the file from itself, detached. */
export async function mountTar(
  kernel: Kernel,
  path: string,
  tar: Uint8Array,
  options: LayerOptions = {},
): Promise<MountedLayer> {
  const layer = await encode(path, tar, options);
  const fd = openLayerFile(path, layer);
  try {
    const mount = await mountLayer(kernel, fd, { kind: 'file', direct: true });
    return { ...layer, path, root: `/proc/self/fd/${mount}/.`, unmount: () => closeSync(mount) };
  } finally {
    closeSync(fd);
  }
}

/** Returns what a container can see of a tree: one line for each name, ordered by the bytes of the names. */
export function listTree(root: string): string[] {
  const lines: string[] = [];
  /** Names of each inode with more than one. */
  const groups = new Map<bigint, number>();
  const add = (path: string): void => {
    const native = Buffer.from(`${root}${path}`, 'latin1');
    const stats = lstatSync(native, { bigint: true });
    lines.push(`${JSON.stringify(path)} ${describe(native, stats, groups)}`);
    if (!stats.isDirectory()) return;
    const names = readdirSync(native, 'latin1').sort((a, b) => (a < b ? -1 : 1));
    for (const name of names) add(`${path}/${name}`);
  };
  add('');
  return lines;
}

function describe(path: Buffer, stats: BigIntStats, groups: Map<bigint, number>): string {
  const isWhiteout = stats.isCharacterDevice() && stats.rdev === 0n;
  const facts = [stats.mode.toString(8), `${stats.uid}:${stats.gid}`];
  if (stats.isCharacterDevice() || stats.isBlockDevice()) facts.push(`device ${stats.rdev}`);
  // On a disk a whiteout has the time of its unpacking, and so has a folder that the archive does not list;
  // in a layer file their time is 0.
  if (!isWhiteout && !(stats.isDirectory() && isUnsaid(stats.mtimeMs))) facts.push(`time ${stats.mtimeNs}`);
  if (stats.isFile()) facts.push(`${stats.size} bytes ${sha256Of(path)}`);
  if (stats.isSymbolicLink()) facts.push(`-> ${JSON.stringify(readlinkSync(path, 'latin1'))}`);
  if (!stats.isDirectory()) {
    if (!groups.has(stats.ino)) groups.set(stats.ino, groups.size);
    facts.push(`links ${stats.nlink} of ${stats.nlink > 1n ? (groups.get(stats.ino) ?? 0) : 'itself'}`);
  }
  if (stats.isFile() || stats.isDirectory()) {
    const text = path.toString('latin1');
    // koffi passes text as UTF-8: these tests compare other names through the hash of their parents.
    if (Buffer.from(text).equals(path)) {
      for (const name of listXattr(text, { encoding: 'latin1' }).sort()) {
        const value = getXattr(text, Buffer.from(name, 'latin1')) ?? [];
        facts.push(`${name}=${Buffer.from(value).toString('hex')}`);
      }
    }
  }
  return facts.join(' ');
}

const buffer = Buffer.allocUnsafe(256 * 1024);

/** In parts: Node reads no file of 2 GiB at once. */
function sha256Of(path: Buffer): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  try {
    for (let read = readSync(fd, buffer); read > 0; read = readSync(fd, buffer))
      hash.update(buffer.subarray(0, read));
    return hash.digest('hex');
  } finally {
    closeSync(fd);
  }
}

/** Whether the time is one that no test gives to a folder. */
function isUnsaid(ms: bigint): boolean {
  return ms === 0n || ms > Date.UTC(2020, 0);
}

/** Returns the code of the error that `body` throws; undefined: it throws none. */
export async function codeOf(body: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await body();
    return undefined;
  } catch (thrown) {
    if (isPortcullisError(thrown)) return thrown.code;
    throw thrown;
  }
}

/** Returns a header with other fields and a new checksum. */
export function patched(block: Buffer, ...fields: readonly (readonly [at: number, text: string])[]): Buffer {
  const made = Buffer.from(block);
  for (const [at, text] of fields) made.write(text, at, 'latin1');
  made.fill(' ', 148, 156);
  const sum = made.reduce((total, byte) => total + byte, 0);
  made.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return made;
}
