/** A set of bytes: bit n says whether byte n is in it. */
export type ByteSet = bigint;

export const SLASH = 0x2f;
export const DOT = 0x2e;

export const singleByte = (byte: number): ByteSet => 1n << BigInt(byte);

/** Every byte that a path may contain: all but NUL. */
export const ANY_BYTE: ByteSet = (1n << 256n) - 2n;

/** Like {@link ANY_BYTE}, without the separator. */
export const NAME_BYTE: ByteSet = ANY_BYTE ^ singleByte(SLASH);

export function byteRange(low: number, high: number): ByteSet {
  return ((1n << BigInt(high + 1)) - 1n) ^ ((1n << BigInt(low)) - 1n);
}

export function bytesOf(set: ByteSet): number[] {
  const found: number[] = [];
  for (let byte = 0; byte < 256; byte++) if ((set >> BigInt(byte)) & 1n) found.push(byte);
  return found;
}

/** Divides all bytes into classes that no set distinguishes, and returns one readable byte of each class. */
export function byteClasses(sets: Iterable<ByteSet>): number[] {
  let parts: ByteSet[] = [ANY_BYTE];
  for (const set of new Set(sets)) {
    parts = parts.flatMap((part) => {
      const inside = part & set;
      return inside === 0n || inside === part ? [part] : [inside, part ^ inside];
    });
  }
  return parts.map((part) => {
    const bytes = bytesOf(part);
    return READABLE.find((byte) => bytes.includes(byte)) ?? bytes[0] ?? 1;
  });
}

const READABLE = Array.from('xabcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-', (letter) =>
  letter.charCodeAt(0),
);
