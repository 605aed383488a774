import { createHash } from 'node:crypto';

/**
 * JSON with object keys in code unit order and no blanks: equal values give equal text. Undefined properties are left out.
 * Like RFC 8785 for what this room stores: strings, booleans, integers, arrays and records.
 */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(sorted(value));
}

/** `sha256:<hex>` of the canonical JSON of `value`. */
export function canonicalDigest(value: unknown): string {
  return sha256Digest(canonicalJson(value));
}

/** `sha256:<hex>` of bytes, or of a text's UTF-8 bytes. */
export function sha256Digest(data: string | Uint8Array): string {
  return `sha256:${createHash('sha256').update(data).digest('hex')}`;
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  const record = value as Record<string, unknown>;
  // A null prototype keeps a key called __proto__ an ordinary key.
  const result = Object.create(null) as Record<string, unknown>;
  for (const key of Object.keys(record).sort()) if (record[key] !== undefined) result[key] = sorted(record[key]);
  return result;
}
