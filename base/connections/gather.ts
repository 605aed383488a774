/** Holds the beginning of one message whose length is known in time. */
export interface Gatherer {
  /** @returns everything that is there, once it is as long as was needed; undefined: it was taken and more must come */
  add(chunk: Buffer): Buffer | undefined;
  /** Keeps what is left over. @param needed how long it must be before it can be read on: bounded by whoever reads, and reserved */
  keep(rest: Buffer, needed: number): void;
}

/** Each byte is copied at most twice, also where a message comes in pieces of one byte; what is held has the length of one message. */
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
      // Its own memory: the chunk that it is part of can be much larger.
      held = Buffer.allocUnsafeSlow(need);
      rest.copy(held);
    },
  };
}
