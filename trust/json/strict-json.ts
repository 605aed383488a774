import { isUtf8 } from 'node:buffer';
import { inspectKeys, parseJson } from '../../base/json/index.ts';

/** Signed payloads are a few hundred bytes long. None of them nests deeper than this. */
const maximumDepth = 32;

/**
 * Parses JSON strictly, so that all readers see the same content: UTF-8 must be valid, no object may have a
 * key twice, and nesting is bounded. JSON.parse alone silently takes the last of two equal keys.
 * @param reviver as for `parseJson`
 * @throws Error with a sentence that names the mistake
 */
export function parseStrictJson(bytes: Uint8Array, reviver?: Parameters<typeof parseJson>[1]): unknown {
  if (!isUtf8(bytes)) throw new Error('it is not UTF-8');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  const { depth, repeated } = inspectKeys(text);
  if (depth > maximumDepth) throw new Error(`it is nested deeper than ${maximumDepth} levels`);
  if (repeated !== undefined) throw new Error(`it contains the key ${JSON.stringify(repeated)} twice`);
  try {
    return parseJson(text, reviver);
  } catch {
    throw new Error('it is not JSON');
  }
}

/**
 * Decodes standard base64 with padding, in its one canonical form (RFC 4648 section 3.5). Returns undefined
 * for anything else.
 */
export function decodeBase64(text: unknown): Buffer | undefined {
  if (typeof text !== 'string') return undefined;
  const bytes = Buffer.from(text, 'base64');
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** Returns `value` as a record, or undefined for anything else. */
export function recordOf(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return value !== null && typeof value === 'object' && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/**
 * Returns `value` as text, or undefined for anything else. `String` throws for an object whose `toString` is
 * no function, and takes a list for its only member.
 */
export function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** Returns the string values of a record by name, without all other values. */
export function textsOf(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(recordOf(value) ?? {}).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}
