import { isUtf8 } from 'node:buffer';
import { parseJson } from '../../base/json/index.ts';

/** Signed payloads are a few hundred bytes long. None of them nests deeper than this. */
const maximumDepth = 32;

/**
 * Parses JSON strictly, so that all readers see the same content: UTF-8 must be valid, no object may have a
 * key twice, and nesting is bounded. JSON.parse alone silently takes the last of two equal keys.
 * @throws Error with a sentence that names the mistake
 */
export function parseStrictJson(bytes: Uint8Array): unknown {
  if (!isUtf8(bytes)) throw new Error('it is not UTF-8');
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  refuseDeepOrDouble(text);
  try {
    return parseJson(text);
  } catch {
    throw new Error('it is not JSON');
  }
}

/**
 * Checks depth and duplicate keys in one pass over the text. It only has to find strings and braces correctly
 * in valid JSON: JSON.parse checks the grammar afterwards, so the result for any other text does not matter.
 */
function refuseDeepOrDouble(text: string): void {
  // For each open bracket: the keys seen so far, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let index = 0;
  while (index < text.length) {
    const character = text[index];
    if (character === '"') {
      const end = endOfString(text, index);
      const keys = open.at(-1);
      if (keys !== undefined && followedByColon(text, end)) addKey(keys, text.slice(index, end));
      index = end;
      continue;
    }
    if (character === '{') open.push(new Set());
    else if (character === '[') open.push(undefined);
    else if (character === '}' || character === ']') open.pop();
    if (open.length > maximumDepth) throw new Error(`it is nested deeper than ${maximumDepth} levels`);
    index += 1;
  }
}

/**
 * Returns the index after the closing quote, or the length of the text. Skips over long strings instead of
 * walking through them.
 */
function endOfString(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  while (quote >= 0) {
    let before = quote - 1;
    while (text[before] === '\\' && before > start) before -= 1;
    // An even number of backslashes escapes only the backslashes themselves.
    if ((quote - before) % 2 === 1) return quote + 1;
    quote = text.indexOf('"', quote + 1);
  }
  return text.length;
}

function followedByColon(text: string, index: number): boolean {
  while (index < text.length && ' \t\n\r'.includes(text[index] as string)) index += 1;
  return text[index] === ':';
}

function addKey(keys: Set<string>, literal: string): void {
  let key: string;
  try {
    // "a" and "\u0061" are the same key. Other mistakes in a literal are found when the whole text is parsed.
    key = literal.includes('\\') ? (parseJson(literal) as string) : literal.slice(1, -1);
  } catch {
    throw new Error('it is not JSON');
  }
  if (keys.has(key)) throw new Error(`it contains the key ${JSON.stringify(key)} twice`);
  keys.add(key);
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
