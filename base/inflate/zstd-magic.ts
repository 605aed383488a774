/**
 * Returns whether bytes begin with a zstd frame, or with a skippable frame, as pzstd writes it before each
 * zstd frame. Source: RFC 8878, sections 3.1.1 and 3.1.2.
 */
export function isZstd(bytes: Buffer): boolean {
  if (bytes.length < 4) return false;
  const magic = bytes.readUInt32LE(0);
  return magic === 0xfd2fb528 || magic >>> 4 === 0x184d2a5;
}
