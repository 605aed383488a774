import { createGatherer } from '../../base/connections/index.ts';

/**
 * Messages over TCP: two bytes of length, then the message (RFC 1035, section 4.2.2; RFC 7766, section 8).
 */

const lengthSize = 2;

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(lengthSize);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}

/**
 * Returns a function that takes bytes as they arrive, and calls back with each complete message. Holds at
 * most one incomplete message.
 */
export function readFrames(onMessage: (message: Buffer) => void): (bytes: Buffer) => void {
  const held = createGatherer();
  return (bytes) => {
    let rest = held.add(bytes);
    if (rest === undefined) return;
    let needed = lengthSize;
    while (rest.length >= lengthSize) {
      needed = lengthSize + rest.readUInt16BE(0);
      if (rest.length < needed) break;
      const message = rest.subarray(lengthSize, needed);
      rest = rest.subarray(needed);
      needed = lengthSize;
      onMessage(message);
    }
    held.keep(rest, needed);
  };
}
