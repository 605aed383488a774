/**
 * Writes one PEM block (RFC 7468): lines of 64 characters, and a line end at its end.
 * @param headers come first, followed by an empty line (RFC 1421)
 * @throws Error for a header of more than one line
 */
export function writePem(
  type: string,
  content: Uint8Array,
  headers: Readonly<Record<string, string>> = {},
): string {
  const lines = Object.entries(headers).map(([name, value]) => {
    if (/[\r\n]/u.test(value)) throw new Error(`${JSON.stringify(value)} is more than one line`);
    return `${name}: ${value}\n`;
  });
  const base64 = Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString('base64');
  const wrapped = base64.replace(/(.{64})(?=.)/gu, '$1\n');
  const before = lines.length === 0 ? '' : `${lines.join('')}\n`;
  return `-----BEGIN ${type}-----\n${before}${wrapped}\n-----END ${type}-----\n`;
}
