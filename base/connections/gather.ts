/** Holds the beginning of one message. The reader learns the length of the message before it is complete. */
export interface Gatherer {
  /**
   * @returns all bytes so far, once they have the needed length. undefined: the chunk was taken and more must
   * come
   */
  add(chunk: Buffer): Buffer | undefined;
  /**
   * Keeps the remaining bytes. @param needed the length at which reading can continue. The reader bounds it.
   * Memory of this size is reserved
   */
  keep(rest: Buffer, needed: number): void;
}

/**
 * Creates a gatherer that copies each byte at most twice, even if a message comes in pieces of one byte. It
 * holds as much memory as one message is long.
 */
export function createGatherer(): Gatherer {
  let held: Buffer = Buffer.alloc(0);
  let length = 0;
  let needed = 0;
  return {
    add(chunk) {
      if (length + chunk.length < needed) {
        if (held.length < needed) held = Buffer.allocUnsafeSlow(needed);
        chunk.copy(held, length);
        length += chunk.length;
        return undefined;
      }
      const all = length === 0 ? chunk : Buffer.concat([held.subarray(0, length), chunk]);
      [held, length, needed] = [Buffer.alloc(0), 0, 0];
      return all;
    },
    keep(rest, need) {
      needed = need;
      length = rest.length;
      if (length === 0) return;
      // This allocates separate memory, because the chunk may be part of a much larger one.
      held = Buffer.allocUnsafeSlow(need);
      rest.copy(held);
    },
  };
}
