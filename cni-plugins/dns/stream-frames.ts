/** Messages over TCP: two bytes of length, then the message (RFC 1035, section 4.2.2; RFC 7766, section 8). */

export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length, 0);
  return Buffer.concat([length, message]);
}

/** Takes bytes as they come and calls back with each whole message; holds one unfinished message at most. */
export function readFrames(onMessage: (message: Buffer) => void): (bytes: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  return (bytes) => {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    while (held.length >= 2) {
      const end = 2 + held.readUInt16BE(0);
      if (held.length < end) break;
      const message = held.subarray(2, end);
      held = held.subarray(end);
      onMessage(message);
    }
  };
}
