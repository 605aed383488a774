import { groupRightsOf } from './access-list.ts';
import { layerError } from './layer-error.ts';
import { maxPathLength } from './layer-budget.ts';
import { decimal, maxMapBytes } from './sparse.ts';
import type { SparseRecords } from './sparse.ts';

/**
 * The fields that a pax extended header overrides in the header that follows it. Strings are byte strings
 * (latin1).
 */
export interface PaxOverrides {
  path?: string;
  linkPath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  /** Nanoseconds since the epoch. */
  mtime?: bigint;
  /** The records of the header about a sparse file. */
  sparse?: SparseRecords;
  /** Only names on the allowlist; values are bytes. */
  xattrs?: Map<string, Uint8Array>;
  /** The rights of the owning group (0 to 7) by an access control list, which is not kept itself. */
  groupRights?: number;
}

export interface PaxReader {
  /** Feeds the next bytes of the header's body; the buffer may be reused after the call. */
  push(part: Buffer): void;
  /** Ends the body. Throws IMAGES_LAYER_CORRUPT inside a record. */
  finish(): PaxOverrides;
}

/**
 * Linux's limits of one attribute's name, one value, and the names of one file together (XATTR_NAME_MAX,
 * XATTR_SIZE_MAX, XATTR_LIST_MAX).
 */
const maxXattrName = 255;
const maxXattrValue = 65_536;
const maxXattrList = 65_536;
const xattrPrefix = 'SCHILY.xattr.';
const sparsePrefix = 'GNU.sparse.';
const accessList = 'SCHILY.xattr.system.posix_acl_access';
/** The longest keyword that is read; tools write far shorter ones. */
const maxKeyLength = 1024;
const maxNumberLength = 64;

const space = 32;
const equals = 61;
const newline = 10;

/**
 * Reads pax records as their bytes arrive: `LENGTH KEY=VALUE\n`, where LENGTH counts the whole record.
 * Refuses a record that is too large by its declared length, before it reads the value. Skips values that are
 * not used and never keeps them. Values are bytes (a file capability is binary), so nothing is decoded as
 * UTF-8. Throws IMAGES_LAYER_CORRUPT, IMAGES_LAYER_UNSUPPORTED, IMAGES_LAYER_TOO_LARGE. Source: POSIX.1-2017
 * pax, "pax Extended Header".
 */
export function createPaxReader(): PaxReader {
  const overrides: PaxOverrides = {};
  let state: 'length' | 'key' | 'value' | 'newline' = 'length';
  /** Digits of the length, then the key, as read so far. */
  let text = '';
  /** Bytes of the record still to come. */
  let remaining = 0;
  let value: Buffer | undefined;
  let filled = 0;
  let key = '';
  const checkKey = createKeyCheck();

  function push(part: Buffer): void {
    let at = 0;
    while (at < part.length) {
      if (state === 'length') at = readLength(part, at);
      else if (state === 'key') at = readKey(part, at);
      else if (state === 'value') at = readValue(part, at);
      else at = endRecord(part, at);
    }
  }

  function readLength(part: Buffer, at: number): number {
    const byte = part[at] as number;
    if (byte === space && text !== '') {
      remaining = Number(text) - text.length - 1;
      // At least `=` and the newline.
      if (remaining < 2) throw malformed();
      text = '';
      state = 'key';
    } else {
      if (byte < 48 || byte > 57 || text.length === 10) throw malformed();
      text += String.fromCharCode(byte);
    }
    return at + 1;
  }

  function readKey(part: Buffer, at: number): number {
    const most = Math.min(part.length, at + remaining - 1, at + maxKeyLength + 1 - text.length);
    const found = part.subarray(at, most).indexOf(equals);
    const end = found === -1 ? most : at + found;
    text += part.toString('latin1', at, end);
    remaining -= end - at;
    if (text.length > maxKeyLength)
      throw tooLarge(`a keyword of a pax header has more than ${maxKeyLength} bytes`);
    if (found === -1) {
      // Only the newline is left: there is no `=`.
      if (remaining === 1) throw malformed();
      return end;
    }
    remaining--;
    startValue();
    return end + 1;
  }

  function startValue(): void {
    key = text;
    text = '';
    // The newline comes after it.
    const size = remaining - 1;
    const most = checkKey(key, size);
    // An attribute is kept in memory, and must not keep a shared pool of buffers alive.
    if (most === undefined) value = undefined;
    else value = key.startsWith(xattrPrefix) ? Buffer.alloc(size) : Buffer.allocUnsafe(size);
    filled = 0;
    state = size === 0 ? 'newline' : 'value';
  }

  function readValue(part: Buffer, at: number): number {
    const take = Math.min(remaining - 1, part.length - at);
    if (value !== undefined) filled += part.copy(value, filled, at, at + take);
    remaining -= take;
    if (remaining === 1) state = 'newline';
    return at + take;
  }

  function endRecord(part: Buffer, at: number): number {
    if (part[at] !== newline) throw malformed();
    if (value !== undefined) applyRecord(overrides, key, value);
    value = undefined;
    remaining = 0;
    state = 'length';
    return at + 1;
  }

  return {
    push,
    finish() {
      if (state !== 'length' || text !== '') throw malformed();
      return overrides;
    },
  };
}

/**
 * Returns the check of the records of one header, before their values are read. The check returns the maximum
 * length of the value of `key`; undefined: the record is not used.
 */
function createKeyCheck(): (key: string, size: number) => number | undefined {
  let nameBytes = 0;
  return (key, size) => {
    const most = valueLimit(key);
    if (most !== undefined && size > most)
      throw tooLarge(
        `the record ${JSON.stringify(key.slice(0, 64))} of a pax header has ${size} bytes, and at most ${most} are allowed`,
      );
    if (!key.startsWith(xattrPrefix) || key === accessList) return most;
    const attribute = key.slice(xattrPrefix.length);
    if (attribute.length > maxXattrName)
      throw tooLarge(
        `the name of an extended attribute has ${attribute.length} bytes, and at most ${maxXattrName} are allowed`,
      );
    if (!isKeptXattr(attribute)) return undefined;
    nameBytes += attribute.length + 1;
    if (nameBytes > maxXattrList)
      throw tooLarge(
        `the names of an entry's extended attributes have more than ${maxXattrList} bytes together`,
      );
    return most;
  };
}

/** Returns the maximum length of the value of any record with this key; undefined: the record is not used. */
function valueLimit(key: string): number | undefined {
  if (key === 'path' || key === 'linkpath') return maxPathLength;
  if (key === 'size' || key === 'uid' || key === 'gid' || key === 'mtime') return maxNumberLength;
  if (key === 'GNU.sparse.name') return maxPathLength;
  if (key === 'GNU.sparse.map') return maxMapBytes;
  if (key.startsWith(sparsePrefix)) return maxNumberLength;
  return key.startsWith(xattrPrefix) ? maxXattrValue : undefined;
}

/**
 * An empty value means that no record overrides the field of the header (POSIX.1-2017 pax, "pax Extended
 * Header").
 */
function applyRecord(overrides: PaxOverrides, key: string, value: Buffer): void {
  if (value.length === 0 && isHeaderField(key)) {
    Reflect.deleteProperty(overrides, key === 'linkpath' ? 'linkPath' : key);
    return;
  }
  switch (key) {
    case 'path':
      overrides.path = name(key, value);
      return;
    case 'linkpath':
      overrides.linkPath = name(key, value);
      return;
    case 'size':
    case 'uid':
    case 'gid':
      overrides[key] = integer(key, value);
      return;
    case 'mtime':
      overrides.mtime = time(value);
      return;
    default:
      if (key.startsWith(sparsePrefix)) {
        overrides.sparse ??= {};
        applySparse(overrides.sparse, key, value);
        return;
      }
      if (key === accessList) {
        overrides.groupRights = groupRightsOf(value);
        return;
      }
      keepXattr(overrides, key.slice(xattrPrefix.length), value);
  }
}

/**
 * Keeps an attribute. Refuses what setxattr(2) refuses, because a layer file is written without this call: a
 * name that is only a prefix, and a file capability that is not of version 2 or 3 (linux/capability.h).
 */
function keepXattr(overrides: PaxOverrides, attribute: string, value: Buffer): void {
  const version = value.length < 4 ? 0 : value.readUInt32LE(0) >>> 24;
  const isCapability = (value.length === 20 && version === 2) || (value.length === 24 && version === 3);
  if (attribute === 'user.' || (attribute === 'security.capability' && !isCapability))
    throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', `the attribute ${attribute} is malformed`);
  overrides.xattrs ??= new Map();
  overrides.xattrs.set(attribute, value);
}

type HeaderField = 'path' | 'linkpath' | 'size' | 'uid' | 'gid' | 'mtime';

function isHeaderField(key: string): key is HeaderField {
  return ['path', 'linkpath', 'size', 'uid', 'gid', 'mtime'].includes(key);
}

function applySparse(sparse: SparseRecords, key: string, value: Buffer): void {
  switch (key) {
    case 'GNU.sparse.major':
      sparse.major = value.toString('latin1');
      return;
    case 'GNU.sparse.minor':
      sparse.minor = value.toString('latin1');
      return;
    case 'GNU.sparse.size':
    case 'GNU.sparse.realsize':
      sparse.size = integer(key, value);
      return;
    case 'GNU.sparse.numblocks':
      sparse.numBlocks = integer(key, value);
      return;
    case 'GNU.sparse.name':
      if (value.length > 0) sparse.name = name(key, value);
      return;
    case 'GNU.sparse.map':
      sparse.map = value.length === 0 ? [] : value.toString('latin1').split(',').map(decimal);
      return;
    case 'GNU.sparse.offset':
    case 'GNU.sparse.numbytes': {
      sparse.pairs ??= [];
      const isOffset = sparse.pairs.length % 2 === 0;
      if (isOffset !== (key === 'GNU.sparse.offset')) throw malformed();
      sparse.pairs.push(integer(key, value));
      return;
    }
    default:
      throw layerError('IMAGES_LAYER_UNSUPPORTED', 'pax header', `the record ${key} is not supported`);
  }
}

/**
 * Keeps `security.capability` and `user.*`. Labels of the builder's machine and overlayfs's own marks
 * (`trusted.*`, `security.selinux`, `user.overlay.*`) must not reach the node.
 */
export function isKeptXattr(attribute: string): boolean {
  return (
    attribute === 'security.capability' ||
    (attribute.startsWith('user.') && !attribute.startsWith('user.overlay.'))
  );
}

function malformed(): Error {
  return layerError('IMAGES_LAYER_CORRUPT', 'pax header', 'a pax record is malformed');
}

function tooLarge(why: string): Error {
  return layerError('IMAGES_LAYER_TOO_LARGE', 'pax header', why);
}

function name(key: string, value: Buffer): string {
  if (value.includes(0))
    throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', `the record ${key} contains a NUL byte`);
  return value.toString('latin1');
}

function integer(key: string, value: Buffer): number {
  const digits = value.toString('latin1');
  const parsed = /^[0-9]{1,16}$/.test(digits) ? Number(digits) : NaN;
  if (!Number.isSafeInteger(parsed))
    throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', `the record ${key} is not a number`);
  return parsed;
}

/** Returns nanoseconds; smaller fractions are truncated. */
function time(value: Buffer): bigint {
  const found = /^(-?)([0-9]{1,20})(?:\.([0-9]{0,20}))?$/.exec(value.toString('latin1'));
  if (found === null)
    throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', 'the record mtime is not a time');
  const [, sign, seconds = '', fraction = ''] = found;
  const nanoseconds = BigInt(seconds + fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -nanoseconds : nanoseconds;
}
