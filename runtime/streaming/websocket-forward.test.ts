import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { serveWebSocketForward } from './websocket-forward.ts';

async function listening(t: TestContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}

/** Opens a client whose first and second port are these. */
async function openClient(t: TestContext, ports: readonly number[]): Promise<WebSocket> {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  t.after(() => server.close());
  server.on('connection', (socket) => {
    void serveWebSocketForward(socket, { base64: false }, { kind: 'portforward', sandbox: 'pod', ports });
  });
  await once(server, 'listening');
  const client = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`);
  t.after(() => client.terminate());
  await once(client, 'open');
  return client;
}

/** Starts a process that listens, and accepts nothing. Returns its port, and a function that kills it. */
async function deafProcess(t: TestContext): Promise<{ readonly port: number; readonly kill: () => void }> {
  const program = `const server = require('node:net').createServer();
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      require('node:fs').writeSync(1, String(server.address().port));
      process.kill(process.pid, 'SIGSTOP');
    });`;
  const child = spawn(process.execPath, ['--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] });
  const kill = (): void => void child.kill('SIGKILL');
  t.after(kill);
  const port = Number(await new Promise((resolve) => child.stdout.once('data', resolve)));
  // The kernel accepts some connections for it, and then none.
  for (let isFull = false; !isFull;) {
    const socket = connect(port, '127.0.0.1').on('error', () => undefined);
    t.after(() => socket.destroy());
    isFull = await Promise.race([once(socket, 'connect').then(() => false), pause(500, true)]);
  }
  return { port, kill };
}

test('a port that is refused after a while does not block the other port', async (t) => {
  const received = Promise.withResolvers<string>();
  const open = await listening(
    t,
    createServer((socket) => {
      socket.once('data', (bytes) => received.resolve(String(bytes)));
      t.after(() => socket.destroy());
    }),
  );
  const { port, kill } = await deafProcess(t);
  const client = await openClient(t, [port, open]);
  // The session does not read on while this waits for the first port.
  for (let sent = 0; sent < 80; sent += 1) client.send(Buffer.alloc(256 * 1024));
  client.send(Buffer.from('\u0002hello'));
  for (let before = Infinity; client.bufferedAmount < before; await pause(100))
    before = client.bufferedAmount;
  assert.ok(client.bufferedAmount > 0);
  kill();
  assert.equal(await received.promise, 'hello');
});
