import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer as createTcpServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer } from '../../base/connections/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { WebSocket } from 'ws';
import type { ForwardPlan } from './plan.ts';
import { openStreamingService } from './streaming-service.ts';
import type { StreamingOptions } from './streaming-service.ts';

const web = createHttpServer((_request, response) => response.end('a page'));
const folder = mkdtempSync(join(tmpdir(), 'streaming-'));
const plan = (): ForwardPlan => ({
  kind: 'portforward',
  sandbox: 's',
  ports: [(web.address() as AddressInfo).port],
});
const options: StreamingOptions = {
  address: '127.0.0.1',
  port: 0,
  tls: { certFile: '', keyFile: '' },
  idleTimeout: 60,
  maxSessions: 10,
  maxSessionsPerContainer: 4,
};
const open = (more: Partial<StreamingOptions> = {}, idleMs = 60_000) =>
  openStreamingService({
    options: { ...options, ...more },
    scopes: { kind: 'none' },
    socketFolder: folder,
    log: createLogger({ level: 'silent' }),
    idleMs,
  });

async function page(url: string): Promise<string> {
  const socket = new WebSocket(url.replace('http', 'ws'), ['v4.channel.k8s.io']);
  let text = '';
  socket.on('message', (data: Buffer) => (text += data.toString('latin1', 1)));
  await once(socket, 'open');
  socket.send(Buffer.concat([Buffer.from([0]), Buffer.from('GET / HTTP/1.0\r\n\r\n')]));
  await once(socket, 'close');
  return text;
}

describe('the streaming service', () => {
  before(() => once(web.listen(0, '127.0.0.1'), 'listening'));
  after(() => {
    web.close();
    rmSync(folder, { recursive: true });
  });

  it('limits waiting and running sessions, for each container and in total', async () => {
    const service = await open();
    for (let count = 0; count < 4; count += 1) await service.open('a', plan());
    await assert.rejects(service.open('a', plan()), { code: 'RUNTIME_STREAMING_LIMIT' });
    for (const subject of ['b', 'b', 'b', 'c', 'c', 'c']) await service.open(subject, plan());
    await assert.rejects(service.open('d', plan()), /10 sessions are open/);
    await service.close();
  });

  it('idle connections do not block clients, and do not end sessions', { timeout: 60_000 }, async () => {
    const service = await open();
    const url = await service.open('a', plan());
    const session = new WebSocket(url.replace('http', 'ws'), ['v4.channel.k8s.io']);
    await once(session, 'open');
    const { port } = new URL(url);
    const flood: Socket[] = [];
    let closed = 0;
    for (let count = 0; count < 1_300; count += 1) {
      const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined);
      socket.on('close', () => (closed += 1));
      await once(socket.resume(), 'connect');
      socket.write(count % 2 === 0 ? 'GET /exec/' : '');
      flood.push(socket);
    }
    for (let round = 0; round < 3; round += 1)
      assert.match(await page(await service.open('b', plan())), /a page/);
    for (let waited = 0; closed < 1_300 - 1_034 && waited < 60_000; waited += 20) await pause(20);
    assert.ok(closed >= 1_300 - 1_034, `${1_300 - closed} connections without a session are open`);
    assert.equal(session.readyState, WebSocket.OPEN);
    for (const socket of flood) socket.destroy();
    session.terminate();
    await service.close();
  });

  it('limits the memory of unfinished messages to one pod, and serves other pods', async () => {
    const service = await open();
    const started = async (subject: string): Promise<WebSocket> => {
      const url = await service.open(subject, { ...plan(), sandbox: subject });
      const socket = new WebSocket(url.replace('http', 'ws'), ['v4.channel.k8s.io']);
      await once(socket, 'open');
      return socket;
    };
    const part = Buffer.alloc(15 * 1024 * 1024);
    const sockets: WebSocket[] = [];
    for (let count = 0; count < 3; count += 1) {
      const socket = await started('a');
      sockets.push(socket);
      socket.send(part, { fin: false });
    }
    const [code] = (await Promise.race(sockets.map((socket) => once(socket, 'close')))) as [number];
    assert.equal(code, 1013);
    assert.match(await page(await service.open('b', { ...plan(), sandbox: 'b' })), /a page/);
    for (const socket of sockets) socket.terminate();
    await service.close();
  });

  it('gives the memory of messages back when they are read', async () => {
    const received: number[] = [];
    const sink = createTcpServer((connection) =>
      connection.on('data', ({ length }) => received.push(length)).on('error', () => undefined),
    );
    await once(sink.listen(0, '127.0.0.1'), 'listening');
    const service = await open();
    const url = await service.open('a', { ...plan(), ports: [(sink.address() as AddressInfo).port] });
    const socket = new WebSocket(url.replace('http', 'ws'), ['v4.channel.k8s.io']);
    await once(socket, 'open');
    const message = Buffer.alloc(12 * 1024 * 1024);
    for (let count = 0; count < 5; count += 1) socket.send(message);
    const all = 5 * (message.length - 1);
    const sum = (): number => received.reduce((total, length) => total + length, 0);
    const isClosed = once(socket, 'close').then(() => assert.fail(`closed after ${sum()} bytes`));
    isClosed.catch(() => undefined);
    while (sum() < all) await Promise.race([pause(20), isClosed]);
    socket.terminate();
    sink.close();
    await service.close();
  });

  it('ends an idle Worker and starts another one without losing a session, also on a separate port', async () => {
    const taken = createHttpServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    await new Promise((resolve) => taken.close(resolve));
    for (const chosen of [0, port]) {
      const service = await open({ port: chosen }, 30);
      for (let round = 0; round < 8; round += 1) {
        const url = await service.open('a', plan());
        await pause(round * 15);
        assert.match(await page(url), /a page/, `round ${round}`);
        await pause(round % 2 === 0 ? 0 : 60);
      }
      await service.close();
    }
  });

  it('reports at its start that its port is in use', () =>
    assert.rejects(open({ port: (web.address() as AddressInfo).port }), {
      code: 'RUNTIME_STREAMING_LISTEN',
      message: /EADDRINUSE/,
    }));

  it('reports that its port is in use after a pause, and listens when the port is free again', async () => {
    const other = createTcpServer();
    await once(other.listen(0, '127.0.0.1'), 'listening');
    const { port } = other.address() as AddressInfo;
    await new Promise((resolve) => other.close(resolve));
    const service = await open({ port });
    await once(other.listen(port, '127.0.0.1'), 'listening');
    for (let time = 0; time < 2; time += 1)
      await assert.rejects(service.open('a', plan()), {
        code: 'RUNTIME_STREAMING_LISTEN',
        kind: 'unavailable',
        message: /EADDRINUSE/,
      });
    await new Promise((resolve) => other.close(resolve));
    assert.match(await page(await service.open('a', plan())), /a page/);
    await service.close();
    await assert.rejects(service.open('a', plan()), /the daemon is stopping/);
  });

  it('removes the console sockets that a killed daemon left', async () => {
    for (const name of ['console-12-3', 'other']) writeFileSync(join(folder, name), '');
    await (await open()).close();
    assert.deepEqual(readdirSync(folder), ['other']);
  });
});
