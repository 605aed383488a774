/** Cuts a stream of bytes into frames. The header of each has a fixed length, and says how much follows. */
export interface FrameCutter {
  /**
   * Adds received bytes and returns the frames that they complete, with their headers: slices of larger
   * buffers, so a caller that keeps a small slice must copy it. The cost is linear in the bytes, and what is
   * kept is below twice the bytes of one frame, however the bytes are cut.
   * @throws what `restLength` throws
   */
  push(chunk: Buffer): readonly Buffer[];
  /** Whether a part of a frame was received. */
  partial(): boolean;
}

const nothing = Buffer.alloc(0);
const shortest = 64;

/**
 * Creates a cutter of frames.
 * @param headerLength in bytes
 * @param restLength returns the number of bytes that follow a header. It throws for a length that is not
 * allowed, which is then known before any of these bytes is kept
 */
export function createFrameCutter(headerLength: number, restLength: (header: Buffer) => number): FrameCutter {
  /** The beginning of one frame, copied: each of many small pieces would cost far more than a byte. */
  let held = nothing;
  let size = 0;
  /** Length of the header, or of the frame once its header is there. */
  let wanted = headerLength;

  const hold = (bytes: Buffer): void => {
    const needed = size + bytes.length;
    if (held.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.min(wanted, Math.max(needed, 2 * held.length, shortest)));
      held.copy(larger, 0, 0, size);
      held = larger;
    }
    bytes.copy(held, size);
    size = needed;
  };

  return {
    push: (chunk) => {
      const frames: Buffer[] = [];
      let at = 0;
      while (at < chunk.length) {
        const rest = chunk.length - at;
        if (size === 0 && rest >= headerLength) {
          const length = headerLength + restLength(chunk.subarray(at, at + headerLength));
          if (rest >= length) {
            frames.push(chunk.subarray(at, at + length));
            at += length;
            continue;
          }
          wanted = length;
        }
        const taken = Math.min(rest, wanted - size);
        hold(chunk.subarray(at, at + taken));
        at += taken;
        if (size < wanted) continue;
        if (wanted === headerLength) wanted += restLength(held.subarray(0, headerLength));
        if (size < wanted) continue;
        frames.push(held.subarray(0, size));
        held = nothing;
        size = 0;
        wanted = headerLength;
      }
      return frames;
    },
    partial: () => size > 0,
  };
}

/** The time limit of a peer for each frame that it began. */
export interface FrameTimer {
  /**
   * Call it after each piece that was received.
   * @param partial whether a part of a frame is there
   * @param completed whether the piece completed a frame: the part belongs to another one then
   */
  look(partial: boolean, completed: boolean): void;
  stop(): void;
}

/**
 * Creates the timer of one stream.
 * @param late is called once a frame was not finished in time, however many of its bytes came
 */
export function createFrameTimer(timeoutMs: number, late: () => void): FrameTimer {
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    clearTimeout(timer);
    timer = undefined;
  };
  return {
    look: (partial, completed) => {
      if (completed || !partial) stop();
      if (partial) timer ??= setTimeout(late, timeoutMs).unref();
    },
    stop,
  };
}
