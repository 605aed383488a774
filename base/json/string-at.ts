import { parseJson } from './parse-json.ts';
import { endOfString, isBlank, isKey, quote } from './strings.ts';

const [openBracket, closeBracket, openBrace, closeBrace] = [0x5b, 0x5d, 0x7b, 0x7d];

/**
 * Returns the string that nested objects have at a path of keys, in one pass that makes no other value. For
 * large texts that were parsed before.
 * @param text JSON without repeated keys
 * @returns undefined if there is no string at the path
 */
export function stringAt(text: string, path: readonly string[]): string | undefined {
  let [depth, found] = [0, 0];
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === openBracket || code === openBrace) depth += 1;
    else if (code === closeBracket || code === closeBrace) {
      if (depth === found + 1) return undefined;
      depth -= 1;
    } else if (code === quote) {
      const end = endOfString(text, at);
      if (depth === found + 1 && isKey(text, end) && valueOf(text, at, end) === path[found]) {
        const value = valueAfter(text, end);
        if (found === path.length - 1)
          return text.charCodeAt(value) === quote
            ? valueOf(text, value, endOfString(text, value))
            : undefined;
        if (text.charCodeAt(value) !== openBrace) return undefined;
        found += 1;
      }
      at = end;
    }
  }
  return undefined;
}

/** Returns the value of a string between the indexes of its quotes. */
function valueOf(text: string, start: number, end: number): string {
  const raw = text.slice(start + 1, end);
  return raw.includes('\\') ? (parseJson(`"${raw}"`) as string) : raw;
}

/** Returns the index at which the value of a key begins. */
function valueAfter(text: string, endOfKey: number): number {
  let at = text.indexOf(':', endOfKey) + 1;
  while (isBlank(text.charCodeAt(at))) at += 1;
  return at;
}
