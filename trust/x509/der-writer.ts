import { derTag } from './der.ts';

/** Writes one element of DER (X.690) from its identifier octet and the parts of its content. */
export function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag, ...lengthOf(body.length)]), body]);
}

function lengthOf(length: number): number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return [0x80 | bytes.length, ...bytes];
}

export const sequence = (...content: readonly Uint8Array[]): Buffer => der(derTag.sequence, ...content);
export const octets = (content: Uint8Array): Buffer => der(derTag.octetString, content);
export const bits = (content: Uint8Array, unused = 0): Buffer =>
  der(derTag.bitString, Buffer.from([unused]), content);

/** Writes a non-negative INTEGER from its big-endian bytes. */
export function integer(bytes: Uint8Array): Buffer {
  let first = 0;
  while (first < bytes.length - 1 && bytes[first] === 0) first += 1;
  const shortest = bytes.subarray(first);
  // Zero has one byte too, and the first bit is the sign (X.690 section 8.3).
  const isPlain = shortest.length > 0 && (shortest[0] ?? 0) < 0x80;
  return der(derTag.integer, isPlain ? Buffer.alloc(0) : Buffer.from([0]), shortest);
}

export function whole(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntBE(value, 0, 6);
  return integer(bytes);
}

/** Writes an object identifier. @param dotted such as `1.2.840.113549.1.5.13` */
export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return der(derTag.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)));
}

function base128(value: number): number[] {
  const digits = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128))
    digits.unshift((rest % 128) | 0x80);
  return digits;
}

/** Writes an AlgorithmIdentifier with NULL parameters, as digests and RSA require. */
export const algorithmWithNull = (name: string): Buffer => sequence(oid(name), der(derTag.null));

/** BOOLEAN TRUE. DER omits FALSE where it is the default (X.690 section 11.5). */
export const derTrue = der(derTag.boolean, Buffer.from([0xff]));
export const utf8 = (text: string): Buffer => der(derTag.utf8String, Buffer.from(text));

/** Writes a BIT STRING of named bits, without trailing zeros (X.690 section 11.2.2). */
export function namedBits(...named: readonly number[]): Buffer {
  const last = named.reduce((most, bit) => Math.max(most, bit), -1);
  const bytes = Buffer.alloc((last + 8) >> 3);
  for (const bit of named) bytes.writeUInt8(bytes.readUInt8(bit >> 3) | (0x80 >> (bit & 7)), bit >> 3);
  return bits(bytes, bytes.length * 8 - last - 1);
}

/**
 * Writes the Time of a certificate, in whole seconds: UTCTime up to 2049, GeneralizedTime after that (RFC
 * 5280 section 4.1.2.5).
 */
export function time(date: Date): Buffer {
  const text = `${date.toISOString().slice(0, 19).replaceAll(/[-:T]/gu, '')}Z`;
  return date.getUTCFullYear() < 2050
    ? der(derTag.utcTime, Buffer.from(text.slice(2)))
    : der(derTag.generalizedTime, Buffer.from(text));
}
