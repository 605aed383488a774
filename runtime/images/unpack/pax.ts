import { layerError } from './layer-error.ts';

/** What a pax extended header overrides in the header that follows it. Strings are byte strings (latin1). */
export interface PaxOverrides {
  path?: string;
  linkPath?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  /** Only names on the allow-list; values are bytes. */
  xattrs?: Map<string, Uint8Array>;
}

/**
 * Parses pax records: `LENGTH KEY=VALUE\n`, LENGTH counting the whole record.
 * Values are bytes (a file capability is binary), so nothing is decoded as UTF-8.
 * Source: POSIX.1-2017 pax, "pax Extended Header". Throws IMAGES_LAYER_CORRUPT, IMAGES_LAYER_UNSUPPORTED.
 */
export function parsePax(bytes: Buffer): PaxOverrides {
  const overrides: PaxOverrides = {};
  let at = 0;
  while (at < bytes.length) {
    const blank = bytes.indexOf(32, at);
    const digits = blank === -1 ? '' : bytes.toString('latin1', at, Math.min(blank, at + 12));
    const length = /^[0-9]{1,10}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = bytes.indexOf(61, blank);
    if (length === 0 || end > bytes.length || bytes[end - 1] !== 10 || equals === -1 || equals >= end) {
      throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', 'a pax record is malformed');
    }
    applyRecord(overrides, bytes.toString('latin1', blank + 1, equals), bytes.subarray(equals + 1, end - 1));
    at = end;
  }
  return overrides;
}

function applyRecord(overrides: PaxOverrides, key: string, value: Buffer): void {
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
      overrides.mtime = seconds(value);
      return;
    default:
      if (key.startsWith('GNU.sparse.')) throw layerError('IMAGES_LAYER_UNSUPPORTED', 'pax header', 'sparse entries are not supported');
      if (key.startsWith('SCHILY.xattr.')) addXattr(overrides, key.slice('SCHILY.xattr.'.length), value);
  }
}

/**
 * `security.capability` and `user.*` are kept; labels of the builder's machine and overlay's own marks
 * (`trusted.*`, `security.selinux`, `user.overlay.*`) must not reach the node.
 */
export function isKeptXattr(attribute: string): boolean {
  return attribute === 'security.capability' || (attribute.startsWith('user.') && !attribute.startsWith('user.overlay.'));
}

function addXattr(overrides: PaxOverrides, attribute: string, value: Buffer): void {
  if (!isKeptXattr(attribute)) return;
  overrides.xattrs ??= new Map();
  // A copy: the buffer is reused by the reader.
  overrides.xattrs.set(attribute, new Uint8Array(value));
}

function name(key: string, value: Buffer): string {
  if (value.includes(0)) throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', `the record ${key} holds a NUL`);
  return value.toString('latin1');
}

function integer(key: string, value: Buffer): number {
  const digits = value.toString('latin1');
  const parsed = /^[0-9]{1,16}$/.test(digits) ? Number(digits) : NaN;
  if (!Number.isSafeInteger(parsed)) throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', `the record ${key} is not a number`);
  return parsed;
}

function seconds(value: Buffer): number {
  const digits = value.toString('latin1');
  if (!/^-?[0-9]{1,12}(\.[0-9]{0,20})?$/.test(digits))
    throw layerError('IMAGES_LAYER_CORRUPT', 'pax header', 'the record mtime is not a time');
  return Number(digits);
}
