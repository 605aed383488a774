/** Types of frames (ttrpc, PROTOCOL.md, "Message Types"). */
export const frameType = { request: 1, response: 2, data: 3 } as const;

/** Maximum length of a frame's data (PROTOCOL.md, "Message Frame"): 4 MiB. */
export const longestData = 4 * 1024 * 1024;

const headerLength = 10;

export interface Frame {
  /** Odd for streams that the client starts, which are the only ones. */
  readonly stream: number;
  readonly type: number;
  readonly flags: number;
  readonly data: Buffer;
}

/** Returns a frame's bytes: length, stream, type and flags, then the data (PROTOCOL.md, "Message Frame"). */
export function encodeFrame(stream: number, type: number, data: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(headerLength + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt8(type, 8);
  bytes.writeUInt8(0, 9);
  bytes.set(data, headerLength);
  return bytes;
}

export interface FrameReader {
  /**
   * Adds received bytes and returns the frames that they complete. The cost is linear in the bytes, however
   * they are cut; at most one incomplete frame is kept.
   * @throws RangeError for a frame that is longer than the protocol allows
   */
  push(chunk: Buffer): readonly Frame[];
  /** Whether a part of a frame was received. */
  partial(): boolean;
}

/** Cuts a stream of bytes into frames. */
export function createFrameReader(): FrameReader {
  let chunks: Buffer[] = [];
  let size = 0;
  /** Number of bytes without which there is nothing to do: a header, or a whole frame. */
  let wanted = headerLength;
  return {
    push: (chunk) => {
      chunks.push(chunk);
      size += chunk.length;
      const frames: Frame[] = [];
      if (size < wanted) return frames;
      const bytes = chunks.length === 1 ? chunk : Buffer.concat(chunks, size);
      let at = 0;
      for (;;) {
        wanted = headerLength;
        if (size - at < wanted) break;
        const length = bytes.readUInt32BE(at);
        if (length > longestData)
          throw new RangeError(`a frame of ${length} bytes was announced, more than ${longestData}`);
        wanted = headerLength + length;
        if (size - at < wanted) break;
        frames.push({
          stream: bytes.readUInt32BE(at + 4),
          type: bytes.readUInt8(at + 8),
          flags: bytes.readUInt8(at + 9),
          data: bytes.subarray(at + headerLength, at + wanted),
        });
        at += wanted;
      }
      size -= at;
      // A copy, because a slice would keep all received bytes alive.
      chunks = size === 0 ? [] : [Buffer.from(bytes.subarray(at))];
      return frames;
    },
    partial: () => size > 0,
  };
}
