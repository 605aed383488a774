/** Objects and arrays within one another. No format that is read here needs half of it. */
export const maxJsonDepth = 128;

/** What `JSON.parse` calls for each value. */
export type JsonReviver = (this: unknown, key: string, value: unknown, context: { readonly source?: string }) => unknown;

/**
 * `JSON.parse` (RFC 8259), but for nesting: V8 14 damages its own heap while it refuses texts that are nested some thousands of levels deep,
 * and the process ends. A text of an image, a registry or a peer must not reach it.
 * @param reviver as of `JSON.parse`
 * @throws SyntaxError where it is no JSON, or where more than 128 objects and arrays stand within one another
 */
export function parseJson(text: string, reviver?: JsonReviver): unknown {
  if (isDeep(text)) throw new SyntaxError(`nested deeper than ${maxJsonDepth} levels`);
  // eslint-disable-next-line no-restricted-properties -- the one place.
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown);
}

const [quote, backslash] = [0x22, 0x5c];

/** One pass. Of a text that is no JSON it may count too much, never too little before the place where it stops being JSON. */
function isDeep(text: string): boolean {
  if (text.length <= maxJsonDepth) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === quote) at = endOfString(text, at);
    // 0x5b is [, 0x7b is {; 0x5d is ], 0x7d is }.
    else if (code === 0x5b || code === 0x7b) {
      depth += 1;
      if (depth > maxJsonDepth) return true;
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
  return false;
}

/** The index of the closing quote, or of the last character. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    // An even number of backslashes escapes only one another.
    if ((end - before) % 2 === 1) return end;
  }
  return text.length - 1;
}
