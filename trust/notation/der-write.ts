import { derTags } from './der.ts';

/** One DER element. */
export function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length), content]);
}

export function derOid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  return der(derTags.oid, Buffer.from([first * 40 + second, ...rest].flatMap(base128)));
}

/** An INTEGER of bytes that may begin with a high bit. */
export function derUnsigned(bytes: Uint8Array): Buffer {
  return der(derTags.integer, ((bytes[0] ?? 0) & 0x80) === 0 ? bytes : Buffer.concat([Buffer.from([0]), bytes]));
}

/** AlgorithmIdentifier with NULL parameters, as hash algorithms are written. */
export function derAlgorithm(oid: string): Buffer {
  return der(derTags.sequence, derOid(oid), der(derTags.null));
}

function lengthOf(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

function base128(value: number): number[] {
  const digits = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) digits.unshift((rest % 128) | 0x80);
  return digits;
}
