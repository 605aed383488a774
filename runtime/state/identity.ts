import { createHash, randomBytes } from 'node:crypto';

/** sha256 of a value's JSON, hex; bytes count as base64. Equal requests have equal digests. */
export function digest(value: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(value, (_key, part: unknown) => (part instanceof Uint8Array ? Buffer.from(part).toString('base64') : part)))
    .digest('hex');
}

/** 32 random bytes, hex: the form that every CRI client knows. */
export function newId(): string {
  return randomBytes(32).toString('hex');
}

let latest = 0n;

/** The wall clock in nanoseconds since 1970, decimal, never the same twice: lists are ordered by it. */
export function now(): string {
  const read = BigInt(Date.now()) * 1_000_000n;
  latest = read > latest ? read : latest + 1n;
  return latest.toString();
}
