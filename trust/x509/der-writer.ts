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
  return der(derTag.integer, (shortest[0] ?? 0) >= 0x80 ? Buffer.from([0]) : Buffer.alloc(0), shortest);
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
