/** The delimiter and the escape character of a JSON string. */
export const [quote, backslash] = [0x22, 0x5c];

/**
 * Returns the index of the quote that closes the string that begins at `start`. Returns the index of the last
 * character if no quote closes it.
 */
export function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    // An even number of backslashes escape only one another.
    if ((end - before) % 2 === 1) return end;
  }
  return text.length - 1;
}

const colon = 0x3a;

/** Returns whether the string whose closing quote is at `end` is a key. */
export function isKey(text: string, end: number): boolean {
  let at = end + 1;
  while (isBlank(text.charCodeAt(at))) at += 1;
  return text.charCodeAt(at) === colon;
}

/** Space, tab, line feed or carriage return: the whitespace of RFC 8259, section 2. */
export const isBlank = (code: number): boolean =>
  code === 0x20 || code === 0x09 || code === 0x0a || code === 0x0d;
