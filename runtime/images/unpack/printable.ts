/**
 * Returns a byte string for a message: as UTF-8 if valid, quoted if it would break a line, bounded in length.
 */
export function printable(name: string): string {
  const decoded = Buffer.from(name, 'latin1').toString('utf8');

  const clean = /[\u0000-\u001f\u007f-\u009f]/.test(decoded) ? JSON.stringify(decoded) : decoded;
  return clean.length > 256 ? `${clean.slice(0, 256)}…` : clean;
}
