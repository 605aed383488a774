import { createGatherer } from '../../base/connections/index.ts';

/** Messages over TCP: two bytes of length, then the message (RFC 1035, section 4.2.2; RFC 7766, section 8). */

const lengthSize = 2;

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(lengthSize);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}

/** Takes bytes as they come and calls back with each whole message; holds one unfinished message at most. */
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
