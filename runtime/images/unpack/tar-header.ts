import { layerError } from './layer-error.ts';

/**
 * Decodes one 512-byte tar header block: v7, POSIX ustar, star and GNU forms. Names are byte strings
 * (latin1): file names need not be UTF-8.
 * Sources: POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
 */
export type EntryType =
  | 'file'
  | 'v7-file'
  | 'gnu-sparse'
  | 'hard-link'
  | 'symlink'
  | 'character-device'
  | 'block-device'
  | 'directory'
  | 'fifo'
  | 'pax'
  | 'pax-global'
  | 'gnu-long-name'
  | 'gnu-long-link';

export interface TarHeader {
  readonly name: string;
  readonly linkName: string;
  readonly type: EntryType;
  /**
   * Bytes of body that follow; 0 for types without a body, whatever the field says (as in Go's archive/tar).
   */
  readonly size: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

export const blockSize = 512;

const types: Readonly<Record<string, EntryType>> = {
  '\0': 'v7-file',
  '0': 'file',
  '1': 'hard-link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
  S: 'gnu-sparse',
  x: 'pax',
  g: 'pax-global',
  L: 'gnu-long-name',
  K: 'gnu-long-link',
};

const withBody: ReadonlySet<EntryType> = new Set<EntryType>([
  'gnu-sparse',
  'file',
  'v7-file',
  'pax',
  'pax-global',
  'gnu-long-name',
  'gnu-long-link',
]);

/**
 * Returns the header at `offset` of `buffer`, or undefined for a block of zeros. Throws IMAGES_LAYER_CORRUPT
 * or IMAGES_LAYER_UNSUPPORTED.
 */
export function decodeHeader(buffer: Buffer, offset: number): TarHeader | undefined {
  // The checksum is the sum of all bytes with its own field read as blanks.
  let sum = 8 * 32;
  for (let at = offset; at < offset + 148; at++) sum += buffer[at] as number;
  for (let at = offset + 156; at < offset + blockSize; at++) sum += buffer[at] as number;
  if (sum === 8 * 32 && isZero(buffer, offset + 148, 8)) return undefined;
  const stated = numericField(buffer, offset + 148, 8, 'checksum');
  if (sum !== stated && sum - 256 * largeBytes(buffer, offset) !== stated) {
    throw layerError('IMAGES_LAYER_CORRUPT', 'header', 'the checksum of a tar header does not match');
  }
  const flag = String.fromCharCode(buffer[offset + 156] as number);
  const shortName = text(buffer, offset, 100);
  const name = prefixOf(buffer, offset) + shortName;
  const type = types[flag];
  // Other formats use these bytes for other things.
  if (type === undefined || (type === 'gnu-sparse' && !isGnu(buffer, offset)))
    throw layerError(
      'IMAGES_LAYER_UNSUPPORTED',
      name,
      `tar entry type ${JSON.stringify(flag)} is not supported`,
    );
  const size = withBody.has(type) ? numericField(buffer, offset + 124, 12, 'size') : 0;
  // Headers of the form v7 have no numbers of devices.
  const device =
    (type === 'character-device' || type === 'block-device') &&
    (isGnu(buffer, offset) || isUstar(buffer, offset));
  return {
    name,
    linkName: text(buffer, offset + 157, 100),
    type,
    size,
    mode: numericField(buffer, offset + 100, 8, 'mode') & 0o7777,
    uid: numericField(buffer, offset + 108, 8, 'uid'),
    gid: numericField(buffer, offset + 116, 8, 'gid'),
    mtime: numericField(buffer, offset + 136, 12, 'mtime', true),
    major: device ? numericField(buffer, offset + 329, 8, 'major') : 0,
    minor: device ? numericField(buffer, offset + 337, 8, 'minor') : 0,
  };
}

/**
 * Returns how many bytes of a header are above 127. Old tar programs add the bytes as signed numbers, and all
 * readers accept both sums (GNU tar manual, "Basic Tar Format").
 */
function largeBytes(buffer: Buffer, offset: number): number {
  return buffer.subarray(offset, offset + blockSize).reduce((count, byte) => count + (byte >> 7), 0);
}

function isGnu(buffer: Buffer, offset: number): boolean {
  return buffer.toString('latin1', offset + 257, offset + 265) === 'ustar  \0';
}

function isUstar(buffer: Buffer, offset: number): boolean {
  return buffer.toString('latin1', offset + 257, offset + 263) === 'ustar\0';
}

function prefixOf(buffer: Buffer, offset: number): string {
  if (isGnu(buffer, offset)) return prefixOfGo(buffer, offset);
  if (!isUstar(buffer, offset)) return '';
  // star keeps access and creation times in the last 24 bytes of the prefix.
  const star = buffer.toString('latin1', offset + 508, offset + 512) === 'tar\0';
  const prefix = text(buffer, offset + 345, star ? 131 : 155);
  return prefix === '' ? '' : `${prefix}/`;
}

/**
 * Before version 1.8, Go wrote prefixes into GNU headers, which have times there. As in later versions of
 * archive/tar, text that is neither empty nor a time is such a prefix (golang.org/issues/21005).
 */
function prefixOfGo(buffer: Buffer, offset: number): string {
  const isTime = (at: number): boolean =>
    (buffer[at] as number) >= 0x80 || /^[\0 ]*[0-7]*[\0 ]*$/.test(buffer.toString('latin1', at, at + 12));
  if (isTime(offset + 345) && isTime(offset + 357)) return '';
  const prefix = text(buffer, offset + 345, 155);
  return prefix === '' || /[^\0-\x7f]/.test(prefix) ? '' : `${prefix}/`;
}

function text(buffer: Buffer, start: number, length: number): string {
  let end = start;
  while (end < start + length && buffer[end] !== 0) end++;
  return buffer.toString('latin1', start, end);
}

function isZero(buffer: Buffer, start: number, length: number): boolean {
  for (let at = start; at < start + length; at++) if (buffer[at] !== 0) return false;
  return true;
}

/**
 * Reads an octal or base-256 field. Accepts only digits, blanks and NULs: parsers disagree about anything
 * else.
 */
export function numericField(
  buffer: Buffer,
  start: number,
  length: number,
  field: string,
  signed = false,
): number {
  const first = buffer[start] as number;
  if ((first & 0x80) !== 0) return base256(buffer, start, length, field, signed);
  let at = start;
  const end = start + length;
  while (at < end && (buffer[at] === 32 || buffer[at] === 0)) at++;
  let value = 0;
  for (; at < end; at++) {
    const digit = (buffer[at] as number) - 48;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  for (; at < end; at++) {
    if (buffer[at] !== 32 && buffer[at] !== 0)
      throw layerError('IMAGES_LAYER_CORRUPT', 'header', `the field ${field} is not an octal number`);
  }
  return value;
}

/** Two's complement, big-endian; the top bit of the first byte is the marker. */
function base256(buffer: Buffer, start: number, length: number, field: string, signed: boolean): number {
  const first = buffer[start] as number;
  const negative = (first & 0x40) !== 0;
  let value = BigInt(first & 0x7f);
  for (let at = start + 1; at < start + length; at++) value = (value << 8n) | BigInt(buffer[at] as number);
  if (negative) value -= 1n << BigInt(length * 8 - 1);
  if (
    (negative && !signed) ||
    value > BigInt(Number.MAX_SAFE_INTEGER) ||
    value < -BigInt(Number.MAX_SAFE_INTEGER)
  ) {
    throw layerError('IMAGES_LAYER_CORRUPT', 'header', `the field ${field} is out of range`);
  }
  return Number(value);
}
