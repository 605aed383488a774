import { connect } from 'node:net';

/** Returns the bytes that were received until the connection ended; undefined when it could not be opened. */
export function askRaw(
  port: number,
  bytes: Buffer,
  expect: 'status' | 'any' | 'gone',
): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let connected = false;
    const socket = connect(port, '127.0.0.1');
    // No request here takes a minute, on any machine.
    socket.setTimeout(60_000, () => socket.destroy());
    socket.on('connect', () => {
      connected = true;
      socket.write(bytes, () => {
        if (expect === 'gone') socket.destroy();
        // A server that waits for the rest of an incomplete request learns that none comes.
        if (expect === 'any') socket.end();
      });
    });
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => resolve(connected ? Buffer.concat(chunks) : undefined));
  });
}

/** Returns the last status of an answer, after any 1xx; undefined when the answer is not HTTP. */
export function statusOf(answer: Buffer): number | undefined {
  let text = answer.toString('latin1');
  for (;;) {
    const [, status] = /^HTTP\/1\.[01] (\d{3})(?: [\x20-\x7e]*)?\r\n/u.exec(text) ?? [];
    if (status === undefined) return undefined;
    const end = text.indexOf('\r\n\r\n');
    if (end === -1) return undefined;
    if (!status.startsWith('1') || status === '101') return Number(status);
    text = text.slice(end + 4);
  }
}
