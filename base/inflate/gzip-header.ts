import { crc32 } from 'node:zlib';
import { Refused } from './engine.ts';

const fixedBytes = 10;
/** FLG of RFC 1952, section 2.3.1. FTEXT, bit 0, changes nothing. */
const flag = { hcrc: 2, extra: 4, name: 8, comment: 16, reserved: 0xe0 } as const;

/** Reads the header of one gzip member, in pieces of any length. */
export interface GzipHeader {
  /**
   * Reads on. Returns the position after the header; undefined: the header continues after `to`.
   * @throws Refused if it is not a header of gzip, or its CRC is wrong
   */
  read(bytes: Buffer, from: number, to: number): number | undefined;
}

/** Source: RFC 1952, section 2.3. Like zlib, it refuses reserved flags and other methods than deflate. */
export function createGzipHeader(): GzipHeader {
  const fixed = Buffer.alloc(fixedBytes);
  let filled = 0;
  let flags = 0;
  let crc = 0;
  let state: 'fixed' | 'extra-length' | 'extra' | 'name' | 'comment' | 'crc' | 'end' = 'fixed';
  let number = 0;
  let numberBytes = 0;

  /** Reads a part of the current field. Returns its end, and whether the field has ended. */
  function field(
    bytes: Buffer,
    from: number,
    to: number,
  ): { readonly next: number; readonly isDone: boolean } {
    if (state === 'fixed') {
      const next = Math.min(to, from + fixedBytes - filled);
      filled += bytes.copy(fixed, filled, from, next);
      return { next, isDone: filled === fixedBytes };
    }
    if (state === 'extra') {
      const next = Math.min(to, from + number);
      number -= next - from;
      return { next, isDone: number === 0 };
    }
    if (state === 'name' || state === 'comment') {
      const zero = bytes.subarray(from, to).indexOf(0);
      return zero === -1 ? { next: to, isDone: false } : { next: from + zero + 1, isDone: true };
    }
    // A number of two bytes, the low one first.
    if (from === to) return { next: from, isDone: false };
    number |= (bytes[from] as number) << (8 * numberBytes);
    numberBytes += 1;
    return { next: from + 1, isDone: numberBytes === 2 };
  }

  function checkFixed(): void {
    flags = fixed[3] as number;
    if (fixed[0] !== 0x1f || fixed[1] !== 0x8b || fixed[2] !== 8 || (flags & flag.reserved) !== 0)
      throw new Refused();
  }

  /** Begins the field after the current one, if the flags announce it. */
  function advance(): void {
    if (state === 'fixed') checkFixed();
    else if (state === 'crc' && number !== (crc & 0xffff)) throw new Refused();
    const rest = [
      ['fixed', 0],
      ['extra-length', flag.extra],
      ['extra', flag.extra],
      ['name', flag.name],
      ['comment', flag.comment],
      ['crc', flag.hcrc],
    ] as const;
    const at = rest.findIndex(([name]) => name === state);
    state = rest.slice(at + 1).find(([, needs]) => (flags & needs) !== 0)?.[0] ?? 'end';
    if (state === 'extra-length' || state === 'crc') [number, numberBytes] = [0, 0];
  }

  return {
    read(bytes, from, to) {
      for (let at = from; ;) {
        const { next, isDone } = field(bytes, at, to);
        if (state !== 'crc') crc = crc32(bytes.subarray(at, next), crc);
        at = next;
        if (isDone) advance();
        else if (at === to) return undefined;
        if (state === 'end') return at;
      }
    },
  };
}
