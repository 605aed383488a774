import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createLogger } from '../../base/log/index.ts';
import { pushMessage } from './message-room.ts';
import { tunnelName } from './protocols.ts';
import { controlFrame, dataHeader, frameTypes } from './spdy/frames.ts';
import { createHeaderWriter } from './spdy/header-block.ts';
import { openStreamingService } from './streaming-service.ts';

const Mi = 1024 * 1024;

/** Starts a server in a pod that reads its connections or not. Returns its port. */
async function program(t: TestContext, reads: boolean): Promise<number> {
  const server = createServer({ pauseOnConnect: !reads }, (connection) => {
    connection.on('error', () => undefined).resume();
    if (!reads) connection.pause();
    t.after(() => connection.destroy());
  });
  t.after(() => server.close());
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return (server.address() as AddressInfo).port;
}

/** A session of a client that may name any protocol. The client of `ws` refuses names with a slash. */
interface Session {
  readonly connection: Socket;
  send(message: Buffer): void;
  /** The code with which the server closes the session. */
  readonly code: Promise<number>;
}

async function openSession(url: URL, protocol: string): Promise<Session> {
  const connection = connect(Number(url.port), url.hostname).on('error', () => undefined);
  const head = [
    'GET ' + url.pathname + ' HTTP/1.1',
    'Host: pod',
    'Connection: Upgrade',
    'Upgrade: websocket',
  ];
  head.push('Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==');
  connection.write([...head, `Sec-WebSocket-Protocol: ${protocol}`, '', ''].join('\r\n'));
  const [answer] = (await once(connection, 'data')) as [Buffer];
  assert.match(answer.toString('latin1'), /^HTTP\/1.1 101 /);
  const code = new Promise<number>((resolve) =>
    connection.on('data', (chunk: Buffer) => {
      // RFC 6455, section 5.5.1: a close frame begins with the code. It is the only frame of these sessions.
      if (chunk[0] === 0x88) resolve(chunk.readUInt16BE(2));
    }),
  );
  const send = (message: Buffer): void => {
    // One binary message whose mask is zero.
    const header = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    header.writeUInt32BE(message.length, 6);
    connection.write(header);
    connection.write(message);
  };
  return { connection, send, code };
}

/** Returns a function that opens a session to these ports of a pod. */
async function sessionsTo(
  t: TestContext,
  protocol: string,
  ports: readonly number[],
): Promise<() => Promise<Session>> {
  const folder = mkdtempSync(join(tmpdir(), 'message-room-'));
  const service = await openStreamingService({
    options: {
      address: '127.0.0.1',
      port: 0,
      tls: { certFile: '', keyFile: '' },
      idleTimeout: 60,
      maxSessions: 100,
      maxSessionsPerContainer: 100,
    },
    scopes: { kind: 'none' },
    socketFolder: folder,
    log: createLogger({ level: 'silent' }),
    idleMs: 60_000,
  });
  t.after(async () => {
    await service.close();
    rmSync(folder, { recursive: true });
  });
  return async () => {
    const url = await service.open('pod', { kind: 'portforward', sandbox: 'pod', ports });
    const session = await openSession(new URL(url), protocol);
    t.after(() => session.connection.destroy());
    return session;
  };
}

/** Sends these messages in up to ten sessions. Returns the code with which the first one is closed. */
async function firstCode(open: () => Promise<Session>, messages: readonly Buffer[]): Promise<number> {
  const codes: Promise<number>[] = [];
  for (let count = 0; count < 10; count += 1) {
    const session = await open();
    codes.push(session.code);
    for (const message of messages) session.send(message);
    const code = await Promise.race([...codes, pause(500)]);
    if (typeof code === 'number') return code;
  }
  return Promise.race(codes);
}

test('limits the memory of messages that no program reads', { timeout: 60_000 }, async (t) => {
  const open = await sessionsTo(t, 'v4.channel.k8s.io', [await program(t, false)]);
  assert.equal(await firstCode(open, [Buffer.alloc(12 * Mi)]), 1013);
});

test('limits the memory of messages with SPDY frames', { timeout: 60_000 }, async (t) => {
  const port = await program(t, false);
  const open = await sessionsTo(t, tunnelName, [port]);
  const headers = createHeaderWriter();
  const stream = (id: number, streamtype: string): Buffer => {
    const named = headers(new Map(Object.entries({ streamtype, port: String(port), requestid: '1' })));
    return controlFrame(frameTypes.synStream, 0, id, 0, Buffer.alloc(2), named);
  };
  const [length, opening] = [12 * Mi, Buffer.concat([stream(1, 'error'), stream(3, 'data')])];
  const messages = [opening, Buffer.concat([dataHeader(3, length, false), Buffer.alloc(length)])];
  assert.equal(await firstCode(open, messages), 1013);
});

test('reads no data for a port whose program reads nothing, while another port is used', async (t) => {
  const open = await sessionsTo(t, 'v4.channel.k8s.io', [await program(t, false), await program(t, true)]);
  const { connection, send } = await open();
  const [large, small] = [Buffer.alloc(Mi), Buffer.from([2, 1])];
  for (let count = 0; count < 60; count += 1) {
    send(large);
    send(small);
  }
  // The server must not read it all. The socket buffers of the kernel hold a few megabytes.
  for (let waited = 0; waited < 3_000; waited += 20) {
    assert.ok(connection.writableLength > 30 * Mi, `only ${connection.writableLength} bytes are not read`);
    await pause(20);
  }
});

test('keeps nothing in memory but the unread bytes of a message', () => {
  const kept: number[] = [];
  const stream = { push: (piece: Buffer) => kept.push(piece.buffer.byteLength) > 0 };
  for (const length of [1, 100 * 1024]) pushMessage(stream, Buffer.alloc(Mi).subarray(1, 1 + length));
  assert.deepEqual(kept, [1, 64 * 1024, 36 * 1024]);
});
