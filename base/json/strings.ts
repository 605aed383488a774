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
