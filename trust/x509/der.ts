/** One element of DER: tag, its content, and the whole of it as it stands. */
export interface DerElement {
  /** The identifier octet: class, constructed bit and number. */
  readonly tag: number;
  readonly content: Buffer;
  /** Tag, length and content. Signatures are over this. */
  readonly whole: Buffer;
  /** Where it begins in the bytes first given to {@link readDer}. */
  readonly offset: number;
}

/** Tags (X.690 section 8; RFC 5280). Context tags are `0x80 | number`, constructed ones `0xa0 | number`. */
export const derTag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** What is not DER, or not what was expected, with the place in bytes. */
export class DerError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} at byte ${offset}`);
    this.offset = offset;
  }
}

/**
 * Reads one element that fills the bytes. Only definite, shortest lengths and low tag numbers: so each value has one encoding
 * (X.690 section 10.1), and bytes that were signed can not be read in two ways.
 * @throws DerError
 */
export function readDer(bytes: Uint8Array): DerElement {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const element = elementAt(buffer, 0, 0);
  if (element.whole.length !== buffer.length) throw new DerError('something follows the value', element.whole.length);
  return element;
}

/** The elements that a constructed element (or an octet string that wraps DER) holds. @throws DerError */
export function childrenOf(element: DerElement): DerElement[] {
  const { content } = element;
  const base = element.offset + element.whole.length - content.length;
  const children: DerElement[] = [];
  for (let at = 0; at < content.length;) {
    const child = elementAt(content, at, base);
    children.push(child);
    at += child.whole.length;
  }
  return children;
}

function elementAt(bytes: Buffer, at: number, base: number): DerElement {
  const tag = bytes[at];
  const first = bytes[at + 1];
  if (tag === undefined || first === undefined) throw new DerError('the value is cut short', base + at);
  if ((tag & 0x1f) === 0x1f) throw new DerError('the tag number is above 30', base + at);
  let length = first;
  let header = 2;
  if (first >= 0x80) {
    const count = first & 0x7f;
    // Four bytes are 4 GiB: nothing here is nearly so large.
    if (count === 0 || count > 4) throw new DerError('the length is indefinite or too large', base + at + 1);
    if (at + 2 + count > bytes.length) throw new DerError('the length is cut short', base + at + 1);
    length = bytes.readUIntBE(at + 2, count);
    if (length < 0x80 || bytes[at + 2] === 0) throw new DerError('the length is not in its shortest form', base + at + 1);
    header += count;
  }
  const end = at + header + length;
  if (end > bytes.length) throw new DerError('the value is cut short', base + at);
  return { tag, content: bytes.subarray(at + header, end), whole: bytes.subarray(at, end), offset: base + at };
}

/** The element, when it has that tag. @throws DerError */
export function expectTag(element: DerElement | undefined, tag: number, what: string): DerElement {
  if (element === undefined) throw new DerError(`${what} is missing`, 0);
  if (element.tag !== tag) throw new DerError(`${what} has the tag 0x${element.tag.toString(16)}`, element.offset);
  return element;
}

/** An object identifier in dots: `1.2.840.113549`. @throws DerError */
export function readOid(element: DerElement | undefined, what = 'an object identifier'): string {
  const { content, offset } = expectTag(element, derTag.oid, what);
  const parts: bigint[] = [];
  let value = 0n;
  let fresh = true;
  for (const byte of content) {
    if (fresh && byte === 0x80) throw new DerError(`${what} is not in its shortest form`, offset);
    value = (value << 7n) | BigInt(byte & 0x7f);
    fresh = byte < 0x80;
    if (fresh) {
      parts.push(value);
      value = 0n;
    }
  }
  const [first] = parts;
  if (first === undefined || !fresh || content.length > 64) throw new DerError(`${what} is malformed`, offset);
  const root = first < 40n ? 0n : first < 80n ? 1n : 2n;
  return [root, first - root * 40n, ...parts.slice(1)].join('.');
}

/** A non-negative integer's bytes as they stand (RFC 5280 serial numbers have up to 20). @throws DerError */
export function readInteger(element: DerElement | undefined, what = 'an integer'): Buffer {
  const { content, offset } = expectTag(element, derTag.integer, what);
  const padded = content.length > 1 && (content[0] === 0 ? (content[1] ?? 0) < 0x80 : content[0] === 0xff && (content[1] ?? 0) >= 0x80);
  if (content.length === 0 || padded) throw new DerError(`${what} is not in its shortest form`, offset);
  return content;
}

/** An integer from 0 to 2^31. @throws DerError */
export function readSmallInteger(element: DerElement | undefined, what: string): number {
  const bytes = readInteger(element, what);
  if (bytes.length > 4 || (bytes[0] ?? 0) >= 0x80) throw new DerError(`${what} is out of range`, element?.offset ?? 0);
  return bytes.readUIntBE(0, bytes.length);
}

/** @throws DerError */
export function readBoolean(element: DerElement): boolean {
  const { content, offset } = expectTag(element, derTag.boolean, 'a boolean');
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw new DerError('a boolean is neither 0x00 nor 0xff', offset);
  return content[0] === 0xff;
}

/** The bytes of a bit string of whole bytes. @throws DerError */
export function readBits(element: DerElement | undefined, what: string): Buffer {
  const { content, offset } = expectTag(element, derTag.bitString, what);
  if (content[0] !== 0) throw new DerError(`${what} is not of whole bytes`, offset);
  return content.subarray(1);
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in UTC, with or without a fraction (RFC 5280 4.1.2.5, RFC 3161). @throws DerError */
export function readTime(element: DerElement | undefined, what: string): number {
  if (element === undefined) throw new DerError(`${what} is missing`, 0);
  const text = element.content.toString('latin1');
  const short = element.tag === derTag.utcTime;
  const match =
    short || element.tag === derTag.generalizedTime
      ? (short ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)()Z$/ : /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d{1,9})?Z$/).exec(text)
      : null;
  if (match === null) throw new DerError(`${what} is not a time in UTC`, element.offset);
  const [, written = '', month, day, hour, minute, second, fraction = ''] = match;
  // RFC 5280 4.1.2.5.1: two digits below 50 are of this century.
  const year = short ? (Number(written) < 50 ? `20${written}` : `19${written}`) : written;
  const iso = `${year}-${month}-${day}T${hour}:${minute}:${second}${fraction.slice(0, 4)}Z`;
  const time = Date.parse(iso);
  // Date.parse takes 30 February for 1 March in some forms; the day must come back as it was written.
  if (Number.isNaN(time) || new Date(time).getUTCDate() !== Number(day))
    throw new DerError(`${what} is no time that exists`, element.offset);
  return time;
}
