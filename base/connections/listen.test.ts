import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createTlsServer } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import { createHttpServer, httpGet } from './node-http.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { closeServer, listenOn, readListenAddress, refuseTunnel } from './listen.ts';

test('reads a host and a port', () => {
  assert.deepEqual(readListenAddress('127.0.0.1:80'), { host: '127.0.0.1', port: 80 });
  assert.deepEqual(readListenAddress('[::1]:65535'), { host: '::1', port: 65_535 });
  assert.deepEqual(readListenAddress(':0'), { host: '', port: 0 });
});

test('reads no port above 65535, and no address without a port', () => {
  for (const text of ['127.0.0.1:65536', '127.0.0.1', '::1:80', '[]:80', 'a:b', '']) {
    assert.equal(readListenAddress(text), undefined, text);
  }
});

test('returns the authority with the port that was chosen', async () => {
  const server = createHttpServer();
  const authority = await listenOn(server, { host: '::1', port: 0 });
  assert.match(authority, /^\[::1\]:[1-9]\d*$/);
  await closeServer(server, 1000);
});

test('rejects if the port is taken', async () => {
  const first = createHttpServer();
  const at = readListenAddress(await listenOn(first, { host: '127.0.0.1', port: 0 }));
  assert.ok(at !== undefined);
  await assert.rejects(listenOn(createHttpServer(), at), { code: 'EADDRINUSE' });
  await closeServer(first, 1000);
});

test('lets a request in flight end before the server is closed', async () => {
  const server = createHttpServer((_request, response) => setTimeout(() => response.end('late'), 100));
  const authority = await listenOn(server, { host: '127.0.0.1', port: 0 });
  const answered = new Promise<string>((resolve, reject) => {
    httpGet(`http://${authority}/`, { agent: false }, (response) => {
      response.setEncoding('utf8').once('data', resolve);
    }).once('error', reject);
  });
  await once(server, 'request');
  await closeServer(server, 10_000);
  assert.equal(await answered, 'late');
});

test('closes the connections of requests that do not end in time', async () => {
  const server = createHttpServer(() => undefined);
  const authority = await listenOn(server, { host: '127.0.0.1', port: 0 });
  const failed = once(httpGet(`http://${authority}/`), 'error');
  await once(server, 'request');
  await closeServer(server, 50);
  await failed;
});

test('closes a connection whose TLS handshake ends after that time', { timeout: 30_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-listen-'));
  const { key, certificate } = makeCertificate(folder, 'server');
  const server = createTlsServer({ key: readFileSync(key), cert: readFileSync(certificate) });
  rmSync(folder, { recursive: true });
  const authority = await listenOn(server, { host: '127.0.0.1', port: 0 });
  const accepted = once(server, 'connection');
  const socket = connect(Number(authority.split(':')[1]), '127.0.0.1').on('error', () => undefined);
  await accepted;
  const closed = closeServer(server, 50);
  await pause(200);
  const client = connectTls({ socket, rejectUnauthorized: false }).on('error', () => undefined);
  client.write('GET / HTTP/1.1\r\n');
  await closed;
  client.destroy();
});

test('refuses to be a proxy', async () => {
  const server = createHttpServer().on('connect', refuseTunnel);
  const authority = await listenOn(server, { host: '127.0.0.1', port: 0 });
  const socket = connect(Number(authority.split(':')[1]), '127.0.0.1');
  socket.write('CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n');
  const [answer] = (await once(socket.setEncoding('utf8'), 'data')) as [string];
  assert.match(answer, /^HTTP\/1\.1 405 /);
  socket.destroy();
  await closeServer(server, 1000);
});
