import { attempt } from '../../base/errors/index.ts';
import { derTag, DerError, expectTag } from './der.ts';
import type { DerElement } from './der.ts';

/**
 * Returns why the content of a primitive element of a universal type is not DER; undefined when it is. A type
 * that X.509, CMS and OCSP do not use is refused. The content is `bytes` from `start` to `end`, so that a
 * list of many elements needs no view of each.
 */
export function contentProblem(
  tag: number,
  bytes: Buffer,
  start = 0,
  end = bytes.length,
): string | undefined {
  switch (tag) {
    case derTag.boolean:
      return end - start === 1 && (bytes[start] === 0 || bytes[start] === 0xff)
        ? undefined
        : 'a boolean is neither 0x00 nor 0xff';
    case derTag.integer:
    case derTag.enumerated:
      return isShortest(bytes, start, end) ? undefined : 'an integer is not in its shortest form';
    case derTag.bitString:
      return bitsProblem(bytes, start, end);
    case derTag.octetString:
      return undefined;
    case derTag.null:
      return end === start ? undefined : 'a NULL has content';
    case derTag.oid:
      return oidProblem(bytes, start, end);
    case derTag.utcTime:
    case derTag.generalizedTime:
      return timeOf(tag, bytes, start, end) === undefined
        ? 'a time is not in the form of DER, or does not exist'
        : undefined;
    default:
      return textProblem(tag, bytes.subarray(start, end));
  }
}

/** Checks an INTEGER (X.690 section 8.3.2). */
function isShortest(bytes: Buffer, start = 0, end = bytes.length): boolean {
  if (end - start < 2) return end > start;
  const [first = 0, second = 0] = [bytes[start], bytes[start + 1]];
  return first === 0 ? second >= 0x80 : first !== 0xff || second < 0x80;
}

/** Checks a BIT STRING (X.690 sections 8.6.2 and 11.2.1). */
function bitsProblem(bytes: Buffer, start = 0, end = bytes.length): string | undefined {
  const unused = start < end ? (bytes[start] ?? 8) : 8;
  if (unused > 7 || (unused > 0 && end - start === 1)) return 'a bit string is malformed';
  return unused === 0 || ((bytes[end - 1] ?? 0) & ((1 << unused) - 1)) === 0
    ? undefined
    : 'unused bits of a bit string are set';
}

/** Checks an OBJECT IDENTIFIER (X.690 section 8.19.2). */
function oidProblem(bytes: Buffer, start = 0, end = bytes.length): string | undefined {
  if (start === end || (bytes[end - 1] ?? 0x80) >= 0x80) return 'an object identifier is malformed';
  let fresh = true;
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at] ?? 0;
    if (fresh && byte === 0x80) return 'an object identifier is not in its shortest form';
    fresh = byte < 0x80;
  }
  return undefined;
}

const characters: Readonly<Record<number, RegExp>> = {
  [derTag.numericString]: /^[0-9 ]*$/u,
  [derTag.printableString]: /^[A-Za-z0-9 '()+,\-./:=?]*$/u,
  [derTag.ia5String]: /^[\x00-\x7f]*$/u,
  [derTag.visibleString]: /^[\x20-\x7e]*$/u,
  [derTag.generalString]: /^[\x20-\x7e]*$/u,
};

/**
 * Returns the text of a string type (X.680 section 41), or undefined when the bytes are not a text of that
 * type.
 */
export function textOf(tag: number, content: Buffer): string | undefined {
  const allowed = characters[tag];
  if (allowed !== undefined) {
    const text = content.toString('latin1');
    return allowed.test(text) ? text : undefined;
  }
  switch (tag) {
    case derTag.utf8String:
      return utf8(content);
    // T.61 is read as ISO 8859-1, as all certificate readers do.
    case derTag.teletexString:
      return content.toString('latin1');
    case derTag.bmpString: {
      if (content.length % 2 === 1) return undefined;
      const text = Buffer.from(content).swap16().toString('utf16le');
      return /[\ud800-\udfff]/.test(text) ? undefined : text;
    }
    case derTag.universalString:
      return utf32(content);
    default:
      return undefined;
  }
}

function textProblem(tag: number, content: Buffer): string | undefined {
  if (characters[tag] === undefined && ![0x0c, 0x14, 0x1c, 0x1e].includes(tag))
    return `the type 0x${tag.toString(16)} is not used here`;
  return textOf(tag, content) === undefined ? 'a text has characters that its type does not have' : undefined;
}

function utf8(content: Buffer): string | undefined {
  return attempt(() => new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content));
}

function utf32(content: Buffer): string | undefined {
  if (content.length % 4 !== 0) return undefined;
  const points = Array.from({ length: content.length / 4 }, (_, at) => content.readUInt32BE(at * 4));
  return points.some((point) => point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
    ? undefined
    : points.map((point) => String.fromCodePoint(point)).join('');
}

/** Reads an object identifier in dotted form: `1.2.840.113549`. @throws DerError */
export function readOid(element: DerElement | undefined, what = 'an object identifier'): string {
  const { content, offset } = expectTag(element, derTag.oid, what);
  const problem =
    content.length > 64
      ? 'is longer than 64 bytes'
      : oidProblem(content)?.replace('an object identifier ', '');
  if (problem !== undefined) throw new DerError(`${what} ${problem}`, offset);
  let dotted = '';
  let value: number | bigint = 0;
  for (const byte of content) {
    value =
      typeof value === 'number' && value < 2 ** 45
        ? value * 128 + (byte & 0x7f)
        : (BigInt(value) << 7n) | BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    if (dotted === '') {
      // The first two arcs are encoded as one number (X.690 section 8.19.4).
      const root = value < 40 ? 0 : value < 80 ? 1 : 2;
      dotted = `${root}.${typeof value === 'number' ? value - root * 40 : value - BigInt(root * 40)}`;
    } else dotted += `.${value}`;
    value = 0;
  }
  return dotted;
}

/** Returns the bytes of an integer, two's complement, big-endian. @throws DerError */
export function readInteger(element: DerElement | undefined, what = 'an integer'): Buffer {
  const { content, offset } = expectTag(element, derTag.integer, what);
  if (!isShortest(content)) throw new DerError(`${what} is not in its shortest form`, offset);
  return content;
}

/** Reads an integer from 0 to 2^31 - 1. `tag`: for an ENUMERATED or an implicit tag. @throws DerError */
export function readSmallInteger(
  element: DerElement | undefined,
  what: string,
  tag: number = derTag.integer,
): number {
  const { content, offset } = expectTag(element, tag, what);
  if (!isShortest(content)) throw new DerError(`${what} is not in its shortest form`, offset);
  if (content.length > 4 || (content[0] ?? 0) >= 0x80) throw new DerError(`${what} is out of range`, offset);
  return content.readUIntBE(0, content.length);
}

/** Reads a boolean. `tag`: for an implicit tag. @throws DerError */
export function readBoolean(
  element: DerElement | undefined,
  what = 'a boolean',
  tag: number = derTag.boolean,
): boolean {
  const { content, offset } = expectTag(element, tag, what);
  if (contentProblem(derTag.boolean, content) !== undefined)
    throw new DerError(`${what} is neither 0x00 nor 0xff`, offset);
  return content[0] === 0xff;
}

/**
 * Reads a component `BOOLEAN DEFAULT FALSE`: DER omits it when it is false (X.690 section 11.5). @throws
 * DerError
 */
export function readTrueOrAbsent(
  element: DerElement | undefined,
  what: string,
  tag: number = derTag.boolean,
): boolean {
  if (element === undefined) return false;
  if (!readBoolean(element, what, tag))
    throw new DerError(`${what} is false, which DER leaves out`, element.offset);
  return true;
}

/** Returns the bytes of a bit string that consists of whole bytes. @throws DerError */
export function readBits(element: DerElement | undefined, what: string): Buffer {
  const { content, offset } = expectTag(element, derTag.bitString, what);
  if (content[0] !== 0) throw new DerError(`${what} is not of whole bytes`, offset);
  return content.subarray(1);
}

/**
 * Returns a bit string of named bits as a number whose bit n is the named bit n. Trailing zeros are refused
 * (X.690 section 11.2.2). @throws DerError
 */
export function readNamedBits(element: DerElement | undefined, what: string): number {
  const { content, offset } = expectTag(element, derTag.bitString, what);
  const unused = content[0] ?? 8;
  const last = content.at(-1) ?? 0;
  const minimal = content.length === 1 ? unused === 0 : unused < 8 && (last & (1 << unused)) !== 0;
  if (!minimal || bitsProblem(content) !== undefined || content.length > 4)
    throw new DerError(`${what} is not in its shortest form`, offset);
  let named = 0;
  for (let bit = 0; bit < (content.length - 1) * 8; bit += 1)
    if (((content[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0) named |= 1 << bit;
  return named;
}

/**
 * Returns the milliseconds since 1970 of a GeneralizedTime in UTC, with or without a fraction (RFC 3161
 * section 2.4.2).
 * @throws DerError
 */
export function readGeneralizedTime(element: DerElement | undefined, what: string): number {
  const { tag, content, offset } = expectTag(element, derTag.generalizedTime, what);
  const time = timeOf(tag, content);
  if (time === undefined) throw new DerError(`${what} is not a time of DER`, offset);
  return time;
}

/**
 * Returns the milliseconds since 1970 of a Time in a certificate or revocation list: UTCTime up to 2049,
 * GeneralizedTime without a fraction after that (RFC 5280 sections 4.1.2.5 and 5.1.2.4). @throws DerError
 */
export function readTime(element: DerElement | undefined, what: string): number {
  if (element === undefined) throw new DerError(`${what} is missing`, 0);
  const { tag, content, offset } = element;
  const time = timeOf(tag, content);
  if (time === undefined) throw new DerError(`${what} is not a time of DER`, offset);
  if (tag === derTag.generalizedTime && (content.includes('.') || new Date(time).getUTCFullYear() < 2050))
    throw new DerError(`${what} is a GeneralizedTime before 2050 or with a fraction`, offset);
  return time;
}

/**
 * Reads a time (X.690 sections 11.7 and 11.8): in UTC, with seconds, and a fraction without trailing zeros.
 */
function timeOf(tag: number, bytes: Buffer, start = 0, end = bytes.length): number | undefined {
  if (tag !== derTag.utcTime && tag !== derTag.generalizedTime) return undefined;
  const isLong = tag === derTag.generalizedTime;
  const from = isLong ? start + 2 : start;
  if (end < from + 13) return undefined;
  const low = pairAt(bytes, from);
  // RFC 5280 4.1.2.5.1: two digits below 50 belong to this century.
  const year = low + 100 * (isLong ? pairAt(bytes, start) : low < 50 ? 20 : 19);
  const [month, day] = [pairAt(bytes, from + 2), pairAt(bytes, from + 4)];
  const [hour, minute, second] = [pairAt(bytes, from + 6), pairAt(bytes, from + 8), pairAt(bytes, from + 10)];
  const milliseconds = fractionOf(bytes, from + 12, end, isLong);
  // Date.UTC maps years below 100 to other years; no certificate is that old.
  if (!(year >= 100 && hour <= 23 && minute <= 59 && second <= 59) || milliseconds === undefined)
    return undefined;
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= daysOf(year, month))) return undefined;
  return Date.UTC(year, month - 1, day, hour, minute, second, milliseconds);
}

/** Reads two decimal digits; NaN when they are not digits. */
function pairAt(bytes: Buffer, at: number): number {
  const [tens, ones] = [(bytes[at] ?? 0) - 0x30, (bytes[at + 1] ?? 0) - 0x30];
  return tens < 0 || tens > 9 || ones < 0 || ones > 9 ? Number.NaN : tens * 10 + ones;
}

/** Returns the milliseconds of the text after the seconds: `Z`, or, where allowed, a fraction and `Z`. */
function fractionOf(bytes: Buffer, start: number, end: number, allowed: boolean): number | undefined {
  if (end === start + 1 && bytes[start] === 0x5a) return 0;
  const text = allowed && end - start <= 11 ? bytes.toString('latin1', start, end) : '';
  const fraction = /^(\.\d{0,8}[1-9])Z$/.exec(text)?.[1];
  return fraction === undefined ? undefined : Math.floor(Number(`0${fraction}`) * 1000);
}

function daysOf(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return [4, 6, 9, 11].includes(month) ? 30 : 31;
}
