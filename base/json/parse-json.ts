import { readEscapedKeys } from './read-escaped-keys.ts';
import type { JsonReviver } from './reviver.ts';
import { backslash, endOfString, isKey, quote } from './strings.ts';

/** The maximum depth of nested objects and arrays. No format that is read here needs half of it. */
export const maxJsonDepth = 128;

/**
 * Parses JSON like `JSON.parse` (RFC 8259), but avoids two defects of V8 14. A text of an image, a registry
 * or a peer must not reach them:
 * - V8 damages its own heap while it refuses texts that are nested several thousand levels deep, and the
 *   process ends.
 * - V8 can confuse a key that contains an escape with another key, from an earlier text (nodejs/node issue
 *   63785). The same bytes then have two meanings. This module reads texts with such keys with its own
 *   reader.
 * @param reviver as for `JSON.parse`, without `this`
 * @throws SyntaxError when the text is not JSON, or when objects and arrays are nested more than 128 levels
 * deep
 */
export function parseJson(text: string, reviver?: JsonReviver): unknown {
  const { isDeep, hasEscapedKey } = look(text);
  if (isDeep) throw new SyntaxError(`nested deeper than ${maxJsonDepth} levels`);
  if (hasEscapedKey) return readEscapedKeys(text, reviver);
  // eslint-disable-next-line no-restricted-properties -- the one place.
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Scans the text in one pass. For a text that is not JSON, the scan may find too much. It never finds too
 * little before the position at which the text stops being JSON.
 */
function look(text: string): { readonly isDeep: boolean; readonly hasEscapedKey: boolean } {
  const hasEscape = text.includes('\\');
  let [depth, hasEscapedKey] = [0, false];
  if (!hasEscape && hasFewBrackets(text)) return { isDeep: false, hasEscapedKey };
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      const end = endOfString(text, at);
      if (hasEscape && !hasEscapedKey) hasEscapedKey = isKey(text, end) && hasBackslash(text, at, end);
      at = end;
    } else if (code === openBracket || code === openBrace) {
      depth += 1;
      if (depth > maxJsonDepth) return { isDeep: true, hasEscapedKey };
    } else if (code === closeBracket || code === closeBrace) depth -= 1;
  }
  return { isDeep: false, hasEscapedKey };
}

/** Whether the text has too few opening brackets, also those in strings, to be nested too deep. */
function hasFewBrackets(text: string): boolean {
  if (text.length <= maxJsonDepth) return true;
  let left = maxJsonDepth;
  for (const bracket of ['{', '[']) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (left === 0) return false;
      left -= 1;
    }
  }
  return true;
}

function hasBackslash(text: string, start: number, end: number): boolean {
  for (let at = start + 1; at < end; at += 1) if (text.charCodeAt(at) === backslash) return true;
  return false;
}
