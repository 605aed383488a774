import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  lutimesSync,
  mkdirSync,
  openSync,
  renameSync,
} from 'node:fs';
import { mknod, setTimes, setXattr } from '../../../base/kernel/index.ts';

/**
 * The file operations of a layer: every path was resolved by the layer's own tree and is in its staging
 * folder.
 */

const nanoseconds = 1_000_000_000n;
const latestTime = 2n ** 33n * nanoseconds;

/** Returns the path for Node: a string, or bytes where the byte string `path` is not ASCII. */
export function nativePath(root: string, path: string): string | Buffer {
  if (/^[\u0000-\u007f]*$/.test(path)) return path === '' ? root : `${root}/${path}`;
  return Buffer.concat([Buffer.from(`${root}/`), Buffer.from(path, 'latin1')]);
}

/** Returns a symlink's target for Node. */
export function asBytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Limits a time, in nanoseconds, to those that utimes(2) and ext4 accept. */
export function fileTime(time: bigint): bigint {
  if (time < 0n) return 0n;
  return time > latestTime ? latestTime : time;
}

/**
 * Node represents times as floating-point numbers, which are too coarse for nanoseconds, but its calls cost
 * less.
 */
function wholeSeconds(time: bigint): number | undefined {
  return time % nanoseconds === 0n ? Number(time / nanoseconds) : undefined;
}

/** Sets the time of an open file or folder, in nanoseconds. */
export function setFileTime(fd: number, time: bigint): void {
  const mtimeNs = fileTime(time);
  const seconds = wholeSeconds(mtimeNs);
  if (seconds === undefined) setTimes(`/proc/self/fd/${fd}`, { mtimeNs, follow: true });
  else futimesSync(fd, seconds, seconds);
}

/** Creates a new regular file, open for writing; an existing file at the path is an error. */
export function createFile(path: string | Buffer): number {
  return openSync(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    0o600,
  );
}

export function makeFolder(path: string | Buffer): void {
  mkdirSync(path, 0o700);
}

export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly xattrs: ReadonlyMap<string, Uint8Array> | undefined;
}

/**
 * Sets the owner, then the mode, then the capability, because each of these calls clears the later
 * attributes.
 */
export function setAttributes(fd: number, attributes: Attributes): void {
  if (attributes.uid !== 0 || attributes.gid !== 0) fchownSync(fd, attributes.uid, attributes.gid);
  fchmodSync(fd, attributes.mode);
  // By descriptor: the name itself may not be UTF-8.
  for (const [name, value] of attributes.xattrs ?? [])
    setXattr(`/proc/self/fd/${fd}`, asBytes(name), value, { follow: true });
}

export function withFolder<T>(path: string | Buffer, body: (fd: number) => T): T {
  using opened = new DisposableStack();
  const fd = opened.adopt(
    openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW),
    closeSync,
  );
  return body(fd);
}

export function setOpaque(path: string | Buffer): void {
  withFolder(path, (fd) => {
    setXattr(`/proc/self/fd/${fd}`, 'trusted.overlay.opaque', new Uint8Array([0x79]), { follow: true });
  });
}

/**
 * Creates a device, FIFO or whiteout. `mode` contains the type bits; `scratch` is a free name beside the
 * layer's root.
 */
export function makeNode(
  path: string | Buffer,
  scratch: string,
  node: { readonly mode: number; readonly major: number; readonly minor: number },
): void {
  if (typeof path === 'string') {
    mknod(path, node.mode, node.major, node.minor);
    return;
  }
  mknod(scratch, node.mode, node.major, node.minor);
  renameSync(scratch, path);
}

/** Sets owner and time of symlinks and devices, without following links. */
export function setLinkAttributes(
  path: string | Buffer,
  attributes: { readonly uid: number; readonly gid: number; readonly mtime: bigint },
): void {
  if (attributes.uid !== 0 || attributes.gid !== 0) lchownSync(path, attributes.uid, attributes.gid);
  const mtimeNs = fileTime(attributes.mtime);
  const seconds = wholeSeconds(mtimeNs);
  if (seconds === undefined) setTimes(path, { mtimeNs });
  else lutimesSync(path, seconds, seconds);
}
