import { createHash } from 'node:crypto';

/**
 * Returns `value` as JSON text with object keys in code unit order and without blanks, so that equal values
 * give equal text. Undefined properties are left out. The text equals that of RFC 8785 for the values that
 * this room stores: strings, booleans, integers, arrays and records.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value));
}

/** Returns `sha256:<hex>` of the canonical JSON of `value`. */
export function canonicalDigest(value: unknown): string {
  return sha256Digest(canonicalJson(value));
}

/** Returns `sha256:<hex>` of bytes, or of the UTF-8 bytes of a text. */
export function sha256Digest(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  const record = value as Record<string, unknown>;
  // With a null prototype, a key called __proto__ is an ordinary key.
  const result = Object.create(null) as Record<string, unknown>;
  for (const key of Object.keys(record).sort())
    if (record[key] !== undefined) result[key] = sorted(record[key]);
  return result;
}
