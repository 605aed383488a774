/** The characters that delimit and escape in a JSON string. */
export const [quote, backslash] = [0x22, 0x5c];

/** The index of the quote that closes the string that begins at `start`; the index of the last character where none does. */
export function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end !== -1; end = text.indexOf('"', end + 1)) {
    let before = end - 1;
    while (text.charCodeAt(before) === backslash) before -= 1;
    // An even number of backslashes escapes only one another.
    if ((end - before) % 2 === 1) return end;
  }
  return text.length - 1;
}
