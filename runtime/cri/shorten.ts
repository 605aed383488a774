/** Shortens a text to at most `bytes` of UTF-8, between two characters. */
export function shorten(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  const cut = Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString();
  return `${cut.replace(/\uFFFD+$/u, '')}…`;
}
