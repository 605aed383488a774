import { constants } from 'node:os';
import { checked, cString, kernelError } from '../ffi/errno.ts';
import { glibc, lastErrno } from '../ffi/libc.ts';

const c = {
  set: glibc('setxattr', 'int', ['str', 'void *', 'void *', 'size_t', 'int']),
  lset: glibc('lsetxattr', 'int', ['str', 'void *', 'void *', 'size_t', 'int']),
  get: glibc('getxattr', 'int64', ['str', 'void *', 'void *', 'size_t']),
  lget: glibc('lgetxattr', 'int64', ['str', 'void *', 'void *', 'size_t']),
  list: glibc('listxattr', 'int64', ['str', 'void *', 'size_t']),
  llist: glibc('llistxattr', 'int64', ['str', 'void *', 'size_t']),
};

/** The largest value and the largest name list: XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h. */
const LIMIT = 65536;

export interface XattrOptions {
  /**
   * Whether a symbolic link at the end of the path is followed. Default: false. Needed for `/proc/self/fd/N`.
   */
  readonly follow?: boolean;
}

/** Text is passed as UTF-8. The kernel takes any bytes. */
export type XattrName = string | Uint8Array;

function nameBytes(name: XattrName, call: string): Uint8Array {
  if (typeof name === 'string') return Buffer.from(`${cString(name, call)}\0`);
  cString(Buffer.from(name).toString('latin1'), call);
  return Buffer.concat([name, Buffer.alloc(1)]);
}

const shown = (name: XattrName): string =>
  typeof name === 'string' ? name : Buffer.from(name).toString('latin1');

/**
 * Sets an extended attribute, new or existing. `name` includes its class: `user.x`, `trusted.overlay.opaque`.
 * Source: xattr(7).
 */
export function setXattr(path: string, name: XattrName, value: Uint8Array, options: XattrOptions = {}): void {
  const call = options.follow === true ? c.set : c.lset;
  checked(
    call(cString(path, 'setxattr'), nameBytes(name, 'setxattr'), value, value.length, 0),
    'setxattr',
    `${path} ${shown(name)}`,
  );
}

/** Returns the value of an extended attribute, or undefined if it is not set. */
export function getXattr(path: string, name: XattrName, options: XattrOptions = {}): Uint8Array | undefined {
  const call = options.follow === true ? c.get : c.lget;
  return sized('getxattr', `${path} ${shown(name)}`, (buffer) =>
    call(cString(path, 'getxattr'), nameBytes(name, 'getxattr'), buffer, buffer.length),
  );
}

/**
 * Returns the names of all extended attributes. Names that are not UTF-8 need `latin1`: one character for
 * each byte.
 */
export function listXattr(
  path: string,
  options: XattrOptions & { readonly encoding?: 'utf8' | 'latin1' } = {},
): string[] {
  const call = options.follow === true ? c.list : c.llist;
  const names = sized('listxattr', path, (buffer) => call(cString(path, 'listxattr'), buffer, buffer.length));
  return Buffer.from(names ?? [])
    .toString(options.encoding ?? 'utf8')
    .split('\0')
    .filter((name) => name !== '');
}

/** Reads into a buffer of a usual size first, then of the largest size. */
function sized(call: string, on: string, read: (buffer: Uint8Array) => number): Uint8Array | undefined {
  for (const size of [1024, LIMIT]) {
    const buffer = new Uint8Array(size);
    const length = read(buffer);
    if (length !== -1) return buffer.slice(0, length);
    const errno = lastErrno();
    if (errno === constants.errno.ENODATA) return undefined;
    if (errno !== constants.errno.ERANGE || size === LIMIT) throw kernelError(errno, call, on);
  }
  return undefined;
}
