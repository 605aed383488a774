import { Client, credentials } from '@grpc/grpc-js';
import { connect as connectHttp2 } from 'node:http2';
import { createConnection, connect } from 'node:net';
import type { NetConnectOpts } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { greetingOf, versions } from '../../cni-plugins/cni/server/frames.ts';
import { createCriClient } from '../../runtime/client.ts';
import { multipartType } from '../../trust/notary/publisher.fixture.ts';
import { openSpdy } from '../fixtures/stream-client.ts';

/**
 * Sends one type of oversized message until it is ended; attack-messages.ts runs it in a separate process.
 */

export interface Places {
  readonly criSocket: string;
  readonly cniSocket: string;
  readonly driverSocket: string;
  readonly containerId: string;
  readonly dnsAddress: string;
  readonly trustPort: number;
}

const mebibyte = 2 ** 20;

async function criMessage({ criSocket }: Places): Promise<string> {
  const client = new Client(`unix:${criSocket}`, credentials.createInsecure(), {
    'grpc.max_send_message_length': -1,
    'grpc.default_authority': 'localhost',
    'grpc.use_local_subchannel_pool': 1,
  });
  try {
    return await new Promise((resolve, reject) => {
      const same = (value: Buffer): Buffer => value;
      client.makeUnaryRequest(
        '/runtime.v1.RuntimeService/Version',
        same,
        same,
        Buffer.alloc(64 * mebibyte),
        (error) =>
          error === null
            ? reject(new Error('a message of 64 MiB was accepted'))
            : resolve(`gRPC status ${error.code}`),
      );
    });
  } finally {
    client.close();
  }
}

async function criHeader({ criSocket }: Places): Promise<string> {
  const session = connectHttp2('http://localhost', {
    createConnection: () => createConnection(criSocket),
    maxSendHeaderBlockLength: 4 * mebibyte,
  });
  try {
    return await new Promise((resolve, reject) => {
      session.on('error', (error) => resolve(`the connection: ${error.message}`));
      const call = session.request({
        ':method': 'POST',
        ':path': '/runtime.v1.RuntimeService/Version',
        'content-type': 'application/grpc',
        'x-large': 'a'.repeat(mebibyte),
      });
      call.on('response', (headers) =>
        headers['grpc-status'] === '0'
          ? reject(new Error('1 MiB of headers was accepted'))
          : resolve(`HTTP status ${String(headers[':status'])}`),
      );
      call.on('error', (error) => resolve(`the call: ${error.message}`));
      call.on('close', () => resolve('the call was closed'));
      call.end(Buffer.alloc(5));
    });
  } finally {
    session.destroy();
  }
}

/**
 * Sends until the other side ends the connection, or everything is sent. @returns the answer, and how much
 * was sent
 */
async function pour(
  to: NetConnectOpts,
  head: Uint8Array | string,
  bytes: number,
): Promise<{ readonly text: string; readonly sent: number }> {
  const socket = connect(to);
  let text = '';
  let closed = false;
  socket.on('data', (chunk: Buffer) => (text = `${text}${chunk.toString('latin1')}`.slice(0, 200)));
  socket.on('error', () => undefined);
  socket.on('close', () => (closed = true));
  socket.write(head);
  const part = Buffer.alloc(mebibyte, 0x61);
  let sent = 0;
  while (!closed && sent < bytes) {
    if (!socket.write(part))
      await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
    sent += part.length;
  }
  for (let waited = 0; !closed && text === '' && waited < 15_000; waited += 10) await pause(10);
  socket.destroy();
  return { text, sent };
}

async function cniCall({ cniSocket }: Places): Promise<string> {
  const head = Buffer.alloc(24);
  greetingOf(versions.withInput, false).copy(head, 0, 0, 7);
  head.writeBigUInt64LE(1n, 8);
  head.writeBigUInt64LE(BigInt(100 * mebibyte), 16);
  const { sent, text } = await pour({ path: cniSocket }, head, 100 * mebibyte);
  if (text !== '' || sent > 32 * mebibyte) throw new Error(`a call of 100 MiB was read: ${sent} bytes`);
  return 'closed at once';
}

async function driverRequest({ driverSocket }: Places): Promise<string> {
  const head = `POST /NetworkDriver.CreateNetwork HTTP/1.1\r\nHost: a\r\nContent-Length: ${100 * mebibyte}\r\n\r\n`;
  const { text } = await pour({ path: driverSocket }, head, 100 * mebibyte);
  if (!text.includes(' 413 ')) throw new Error(`a body of 100 MiB: ${text || 'no answer'}`);
  return 'status 413';
}

async function dnsLengths({ dnsAddress }: Places): Promise<string> {
  const socket = connect({ host: dnsAddress, port: 53, localAddress: '127.0.0.7' });
  socket.on('error', () => undefined);
  await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
  for (const length of [0, 1, 11, 12, 0xffff]) {
    const message = Buffer.alloc(2 + Math.min(length, 600));
    message.writeUInt16BE(length);
    socket.write(message);
  }
  await pause(20);
  socket.destroy();
  return 'sent';
}

async function spdyPieces({ criSocket, containerId }: Places): Promise<string> {
  const url = await execUrl(criSocket, containerId);
  const client = await openSpdy(url, 'v4.channel.k8s.io');
  client.socket.setNoDelay(true);
  const frame = Buffer.alloc(8 + 65_536);
  frame.writeUInt32BE(0x80030006);
  frame.writeUIntBE(65_536, 5, 3);
  for (let at = 0; at < frame.length && !client.socket.destroyed; at += 1) {
    client.socket.write(frame.subarray(at, at + 1));
    if (at % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  client.drop();
  return 'a frame of 64 KiB';
}

async function webSocketFrame({ criSocket, containerId }: Places): Promise<string> {
  const url = await execUrl(criSocket, containerId);
  const { port, pathname } = new URL(url);
  const upgrade = `GET ${pathname} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n`;
  const frame = Buffer.concat([
    Buffer.of(0x82, 0xff),
    Buffer.from('4000000000000000', 'hex'),
    Buffer.alloc(4),
  ]);
  const { text, sent } = await pour(
    { host: '127.0.0.1', port: Number(port) },
    Buffer.concat([Buffer.from(upgrade), frame]),
    64 * mebibyte,
  );
  if (sent > 32 * mebibyte) throw new Error(`${sent} bytes of a frame of 2^62 were read: ${text}`);
  return 'closed';
}

async function trustMessages({ trustPort }: Places): Promise<string> {
  const to = { host: '127.0.0.1', port: trustPort, localAddress: '127.0.0.2' };
  const header = await pour(to, 'GET /v2/ HTTP/1.1\r\nHost: a\r\nX: ', mebibyte);
  const endless = `POST /tuf/a/ HTTP/1.1\r\nHost: a\r\nContent-Type: ${multipartType}\r\nTransfer-Encoding: chunked\r\n\r\n3fffffff\r\n--`;
  const upload = await pour(to, endless, 64 * mebibyte);
  const found = [header, upload]
    .map(({ text }) => /^HTTP\/1\.1 (\d+)/u.exec(text)?.[1] ?? 'closed')
    .join(', ');
  if (/200/u.test(found)) throw new Error(`a giant request was accepted: ${found}`);
  return found;
}

async function execUrl(criSocket: string, containerId: string): Promise<string> {
  const client = createCriClient(criSocket);
  return (
    await client.runtime.exec({ containerId, cmd: ['true'], stdout: true }).finally(() => client.close())
  ).url;
}

const senders: Readonly<Record<string, (places: Places) => Promise<string>>> = {
  ...{ criMessage, criHeader, cniCall, driverRequest, dnsLengths, spdyPieces, webSocketFrame, trustMessages },
};
const [send, places] = [senders[process.argv[2] ?? ''], JSON.parse(process.argv[3] ?? '{}') as Places];
for (;;) {
  let said: string;
  try {
    said = (await send?.(places)) ?? 'no such message';
  } catch (thrown) {
    said = `failed: ${String(thrown)}`;
  }
  process.stdout.write(`${said.replaceAll('\n', ' ')}\n`);
  await pause(20);
}
