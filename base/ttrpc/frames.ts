import { createFrameCutter } from './frame-cutter.ts';

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
   * Adds received bytes and returns the frames that they complete.
   * @throws RangeError for a frame that is longer than the protocol allows
   */
  push(chunk: Buffer): readonly Frame[];
  /** Whether a part of a frame was received. */
  partial(): boolean;
}

/** Copies data that is a small part of what was received: a slice would keep all of it alive. */
function own(data: Buffer, chunk: Buffer): Buffer {
  if (4 * data.length >= chunk.length) return data;
  const copy = Buffer.allocUnsafeSlow(data.length);
  data.copy(copy);
  return copy;
}

/** Cuts a stream of bytes into frames. */
export function createFrameReader(): FrameReader {
  const cutter = createFrameCutter(headerLength, (header) => {
    const length = header.readUInt32BE(0);
    if (length > longestData)
      throw new RangeError(`a frame of ${length} bytes was announced, more than ${longestData}`);
    return length;
  });
  return {
    push: (chunk) =>
      cutter.push(chunk).map((frame) => ({
        stream: frame.readUInt32BE(4),
        type: frame.readUInt8(8),
        flags: frame.readUInt8(9),
        data: own(frame.subarray(headerLength), chunk),
      })),
    partial: cutter.partial,
  };
}
