/**
 * A strict, lazy reader of DER (X.690): definite, shortest lengths and low tag numbers only. Children are read when asked for, so
 * that a revocation list of a hundred thousand entries costs one walk and no tree.
 */
export interface Der {
  /** The identifier octet: class, constructed bit and number. */
  readonly tag: number;
  readonly content: Buffer;
  /** Header and content, as served: what signatures are over. */
  readonly raw: Buffer;
}

export const derTags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** The identifier of a context-specific element. */
export function contextTag(number: number, form: 'constructed' | 'primitive'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

/**
 * Reads one element that fills the bytes.
 * @throws Error with a sentence and the offset
 */
export function readDer(bytes: Uint8Array, tag?: number): Der {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const element = elementAt(buffer, 0);
  if (element.raw.length !== buffer.length) throw new Error(`it has ${buffer.length - element.raw.length} bytes after its end`);
  return tag === undefined ? element : expectTag(element, tag);
}

/** The elements inside a constructed element, one by one. */
export function eachChild(parent: Der): Generator<Der, void> {
  return eachDer(parent.content);
}

/** Elements that stand one after the other. */
export function* eachDer(bytes: Buffer): Generator<Der, void> {
  let offset = 0;
  while (offset < bytes.length) {
    const element = elementAt(bytes, offset);
    yield element;
    offset += element.raw.length;
  }
}

/** @throws Error when there are more than `limit` */
export function childrenOf(parent: Der, limit = 64): readonly Der[] {
  const list: Der[] = [];
  for (const child of eachChild(parent)) {
    if (list.length >= limit) throw new Error(`it holds more than ${limit} elements at one place`);
    list.push(child);
  }
  return list;
}

export function expectTag(element: Der | undefined, tag: number): Der {
  if (element === undefined) throw new Error(`an element (0x${tag.toString(16)}) is missing`);
  if (element.tag !== tag) throw new Error(`an element is 0x${element.tag.toString(16)} where 0x${tag.toString(16)} is due`);
  return element;
}

/** The dotted form of an OBJECT IDENTIFIER. */
export function oidOf(element: Der | undefined): string {
  const { content } = expectTag(element, derTags.oid);
  if (content.length === 0 || content.length > 64 || ((content.at(-1) ?? 0x80) & 0x80) !== 0)
    throw new Error('an object identifier is damaged');
  const arcs: number[] = [];
  let value = 0;
  for (const byte of content) {
    value = value * 128 + (byte & 0x7f);
    if (value > Number.MAX_SAFE_INTEGER) throw new Error('an object identifier is too large');
    if ((byte & 0x80) !== 0) continue;
    if (arcs.length === 0) {
      const first = Math.min(2, Math.floor(value / 40));
      arcs.push(first, value - first * 40);
    } else arcs.push(value);
    value = 0;
  }
  return arcs.join('.');
}

/** A small INTEGER that is not negative. */
export function smallIntegerOf(element: Der | undefined, tag: number = derTags.integer): number {
  const { content } = expectTag(element, tag);
  if (content.length === 0 || content.length > 6 || ((content[0] ?? 0) & 0x80) !== 0) throw new Error('a number is out of range');
  return content.readUIntBE(0, content.length);
}

/** The content of a BIT STRING of whole bytes. */
export function bitStringOf(element: Der | undefined): Buffer {
  const { content } = expectTag(element, derTags.bitString);
  if (content[0] !== 0) throw new Error('a bit string is not of whole bytes');
  return content.subarray(1);
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in its DER form: in UTC, with seconds, fractions only where RFC 3161 has them. */
export function timeOf(element: Der | undefined): number {
  if (element === undefined) throw new Error('a time is missing');
  const text = element.content.toString('latin1');
  const isUtc = element.tag === derTags.utcTime;
  const match = (
    isUtc ? /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/ : /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(?:\.(\d{1,9}))?Z$/
  ).exec(text);
  if (match === null || (!isUtc && element.tag !== derTags.generalizedTime)) throw new Error('a time is damaged');
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = match.slice(1, 7).map(Number);
  // RFC 5280 section 4.1.2.5.1: two digits from 50 on are of the twentieth century.
  const full = isUtc ? (year >= 50 ? 1900 : 2000) + year : year;
  const time = Date.UTC(full, month - 1, day, hour, minute, second, Math.floor(Number(`0.${match[7] ?? '0'}`) * 1000));
  if (new Date(time).getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) throw new Error('a time is damaged');
  return time;
}

function elementAt(buffer: Buffer, offset: number): Der {
  const tag = buffer[offset];
  const first = buffer[offset + 1];
  if (tag === undefined || first === undefined) throw new Error('it ends inside an element');
  if ((tag & 0x1f) === 0x1f) throw new Error('it uses a high tag number');
  let length = first;
  let start = offset + 2;
  if (first >= 0x80) {
    const size = first & 0x7f;
    if (size === 0 || size > 4 || start + size > buffer.length) throw new Error('it is not DER: a length is indefinite or too large');
    length = buffer.readUIntBE(start, size);
    if (length < 0x80 || length < 2 ** (8 * (size - 1))) throw new Error('it is not DER: a length is not the shortest');
    start += size;
  }
  const end = start + length;
  if (end > buffer.length) throw new Error('it ends inside an element');
  return { tag, content: buffer.subarray(start, end), raw: buffer.subarray(offset, end) };
}
