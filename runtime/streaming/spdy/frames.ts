import { createGatherer } from '../../../base/connections/index.ts';

/** Control frames: SPDY protocol draft 3, section 2.6. */
export const frameTypes = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;

/** RST_STREAM, section 2.6.3. */
export const resetCodes = {
  protocolError: 1,
  invalidStream: 2,
  refusedStream: 3,
  cancel: 5,
  internalError: 6,
} as const;

export const flagFin = 1;

export interface ControlFrame {
  readonly kind: 'control';
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

/** A part of a data frame's bytes, as they arrive: a large frame consists of several parts. */
export interface DataPart {
  readonly kind: 'data';
  readonly stream: number;
  readonly bytes: Buffer;
  /** The sender has sent its last byte. */
  readonly fin: boolean;
}

/** Clients' control frames have a few hundred bytes. Data frames are never held as a whole. */
const largestControlFrame = 64 * 1024;
/** The bytes of every frame's header. */
const headLength = 8;

/**
 * Splits a connection's bytes into frames, however the bytes are divided. @throws on a version other than 3
 * or a control frame that is too large
 */
export function createFrameParser(): (chunk: Buffer) => (ControlFrame | DataPart)[] {
  const held = createGatherer();
  let data: { readonly stream: number; readonly fin: boolean; left: number } | undefined;
  return (chunk) => {
    const found: (ControlFrame | DataPart)[] = [];
    let rest = held.add(chunk);
    if (rest === undefined) return found;
    let needed: number;
    for (;;) {
      needed = headLength;
      if (data !== undefined) {
        const bytes = rest.subarray(0, data.left);
        rest = rest.subarray(bytes.length);
        data.left -= bytes.length;
        const complete = data.left === 0;
        if (bytes.length > 0 || complete)
          found.push({ kind: 'data', stream: data.stream, bytes, fin: data.fin && complete });
        if (!complete) break;
        data = undefined;
      }
      if (rest.length < headLength) break;
      const [head, flags, length] = [rest.readUInt32BE(0), rest.readUInt8(4), rest.readUIntBE(5, 3)];
      if (head < 0x80000000) {
        data = { stream: head, fin: (flags & flagFin) !== 0, left: length };
        rest = rest.subarray(headLength);
        continue;
      }
      const version = (head >>> 16) & 0x7fff;
      if (version !== 3) throw new Error(`a frame of SPDY version ${version}`);
      if (length > largestControlFrame) throw new Error(`a control frame of ${length} bytes`);
      needed = headLength + length;
      if (rest.length < needed) break;
      found.push({ kind: 'control', type: head & 0xffff, flags, payload: rest.subarray(headLength, needed) });
      rest = rest.subarray(needed);
    }
    // The rest of a data frame was passed on, so its next byte counts.
    held.keep(rest, data === undefined ? needed : 0);
    return found;
  };
}

/** Returns the eight bytes before a data frame's content. */
export function dataHeader(stream: number, length: number, fin: boolean): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(stream, 0);
  header.writeUInt8(fin ? flagFin : 0, 4);
  header.writeUIntBE(length, 5, 3);
  return header;
}

export function controlFrame(type: number, flags: number, ...parts: readonly (number | Buffer)[]): Buffer {
  const payload = Buffer.concat(parts.map((part) => (typeof part === 'number' ? word(part) : part)));
  return Buffer.concat([
    word((0x80030000 | type) >>> 0),
    word(((flags << 24) | payload.length) >>> 0),
    payload,
  ]);
}

function word(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
