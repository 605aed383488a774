/**
 * Returns the bytes in memory of their own. A part of a buffer keeps all of it in memory, so one unread byte
 * would hold the 64 KiB that were read from a socket with it. The pool of `Buffer.from` does the same.
 * @returns the same buffer if it is most of what it keeps in memory
 */
export function unshared(bytes: Buffer): Buffer {
  if (2 * bytes.length >= bytes.buffer.byteLength) return bytes;
  const own = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(own);
  return own;
}
