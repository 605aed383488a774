import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, RequestListener } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { afterEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { createServer as createTlsServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import fc from 'fast-check';
import { createHttpServer } from '../connections/index.ts';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { createHttpClient } from './index.ts';
import type { HttpAnswer, HttpClient } from './index.ts';

const receiveBytes = 64 * 1024;
const content = randomBytes(3_000_000);

const opened: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of opened.splice(0).toReversed()) await close();
});

interface Served {
  readonly url: URL;
  readonly connections: Set<Socket>;
}

async function serve(listener: RequestListener, tls?: { key: Buffer; cert: Buffer }): Promise<Served> {
  const server = tls === undefined ? createHttpServer(listener) : createHttpsServer(tls, listener);
  const connections = new Set<Socket>();
  server.on('connection', (socket: Socket) => connections.add(socket.on('error', () => undefined)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { url: new URL(`http${tls === undefined ? '' : 's'}://127.0.0.1:${port}/`), connections };
}

/** A server that answers each request by writing to the connection, with TLS or without. */
async function serveRaw(answer: (socket: Socket) => unknown, tls?: { key: Buffer; cert: Buffer }) {
  const onConnection = (socket: Socket): void => {
    socket.setNoDelay(true);
    opened.push(() => socket.destroy());
    socket.on('error', () => undefined).on('data', () => void answer(socket));
  };
  const server = tls === undefined ? createServer(onConnection) : createTlsServer(tls, onConnection);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  opened.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return new URL(`http${tls === undefined ? '' : 's'}://127.0.0.1:${port}/`);
}

function client(): HttpClient {
  const made = createHttpClient({ environment: {}, receiveBytes });
  opened.push(() => made.close());
  return made;
}

function identity(): { key: Buffer; cert: Buffer } {
  const folder = mkdtempSync(`${tmpdir()}/portcullis-in-place-`);
  opened.push(() => {
    rmSync(folder, { recursive: true });
  });
  makeCertificate(folder, 'server', { more: ['-addext', 'subjectAltName=IP:127.0.0.1'] });
  return { key: readFileSync(`${folder}/server.key`), cert: readFileSync(`${folder}/server.pem`) };
}

const getOver = ({ cert }: { cert: Buffer }, from: HttpClient, url: URL): Promise<HttpAnswer> =>
  from.send({
    url,
    totalMs: 30_000,
    tls: () => Promise.resolve({ id: 'test', ca: [cert.toString()], only: true }),
  });

const get = (from: HttpClient, url: URL): Promise<HttpAnswer> => from.send({ url, totalMs: 30_000 });

/** Copies the pieces, as each is valid only during the call. */
async function collect(answer: HttpAnswer, mostBytes = Infinity): Promise<Buffer> {
  const pieces: Buffer[] = [];
  await answer.each(mostBytes, (bytes) => void pieces.push(Buffer.from(bytes)));
  return Buffer.concat(pieces);
}

/** Answers with the content, in pieces of the size in the path. */
async function inPieces(request: IncomingMessage, write: (bytes: Buffer) => boolean | Promise<unknown>) {
  const size = Number(request.url?.slice(1)) || content.length;
  for (let at = 0; at < content.length; at += size) await write(content.subarray(at, at + size));
}

const whole: RequestListener = (_request, response) =>
  void response.writeHead(200, { 'content-length': content.length }).end(content);

describe('a body that is passed on in place', () => {
  it('is complete, and its pieces share the memory of one buffer', async () => {
    const { url } = await serve(whole);
    const memory = new Set<ArrayBufferLike>();
    const pieces: Buffer[] = [];
    const answer = await get(client(), url);
    await answer.each(Infinity, (bytes) => {
      memory.add(bytes.buffer);
      pieces.push(Buffer.from(bytes));
    });
    assert.ok(Buffer.concat(pieces).equals(content));
    // The head, and bytes that arrive before the reader has asked, are copied.
    assert.ok(pieces.length > 20 && memory.size <= 4, `${memory.size} buffers, ${pieces.length} pieces`);
  });

  it('is complete when the server sends it in chunks of any size', async () => {
    const { url } = await serve((request, response) => {
      void inPieces(request, (bytes) => response.write(bytes) || once(response, 'drain')).then(() =>
        response.end(),
      );
    });
    const one = client();
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 5_000, max: 400_000 }), async (size) => {
        assert.ok((await collect(await get(one, new URL(`/${size}`, url)))).equals(content));
      }),
      { numRuns: 10 },
    );
  });

  it('is complete when its reader asks late', async () => {
    const { url } = await serve(whole);
    const answer = await get(client(), url);
    await sleep(100);
    assert.ok((await collect(answer)).equals(content));
  });

  it('is complete over TLS', async () => {
    const tls = identity();
    const { url } = await serve(whole, tls);
    assert.ok((await collect(await getOver(tls, client(), url))).equals(content));
  });

  it('is complete through a proxy', async () => {
    const { url } = await serve(whole);
    const one = createHttpClient({
      environment: { HTTP_PROXY: url.href },
      receiveBytes,
    });
    opened.push(() => one.close());
    assert.ok((await collect(await get(one, new URL('http://registry.example/')))).equals(content));
  });

  it('leaves the connection ready for the next request', async () => {
    const { url, connections } = await serve(whole);
    const one = client();
    for (let times = 0; times < 3; times += 1) {
      assert.ok((await collect(await get(one, url))).equals(content));
      // undici uses a connection again in the next turn of the event loop.
      await sleep(5);
    }
    assert.equal(connections.size, 1);
  });

  it('is not mixed up with the bodies of other connections', async () => {
    const others = Array.from({ length: 8 }, () => randomBytes(700_000));
    const { url } = await serve(
      (request, response) => void response.end(others[Number(request.url?.slice(1))]),
    );
    const one = client();
    const received = await Promise.all(
      others.map(async (_, index) => collect(await get(one, new URL(`/${index}`, url)))),
    );
    for (const [index, bytes] of received.entries()) assert.ok(bytes.equals(others[index] as Buffer));
  });

  it('ends with the error of its reader, and the connection is closed', async () => {
    const { url, connections } = await serve(whole);
    const answer = await get(client(), url);
    const mistake = new Error('the disk is full');
    let calls = 0;
    await assert.rejects(
      answer.each(Infinity, () => {
        calls += 1;
        throw mistake;
      }),
      (error) => error === mistake,
    );
    assert.equal(calls, 1);
    const [socket] = connections;
    if (socket?.destroyed === false) await new Promise((resolve) => socket.once('close', resolve));
  });

  it('fails when it is longer than allowed, announced or not', async () => {
    for (const headers of [{ 'content-length': content.length }, {}]) {
      const { url } = await serve((_request, response) => void response.writeHead(200, headers).end(content));
      let bytes = 0;
      const answer = await get(client(), url);
      await assert.rejects(
        answer.each(100_000, (piece) => void (bytes += piece.length)),
        { code: 'HTTP_TOO_LARGE' },
      );
      assert.ok(bytes <= 100_000);
    }
  });

  it('fails when the connection breaks, after what has arrived', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 500_000), () => setTimeout(() => response.destroy(), 50));
    });
    let bytes = 0;
    const answer = await get(client(), url);
    await assert.rejects(
      answer.each(Infinity, (piece) => void (bytes += piece.length)),
      { code: 'HTTP_UNREACHABLE' },
    );
    assert.equal(bytes, 500_000);
  });

  it('ends when the caller cancels the request', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-length': content.length });
      response.write(content.subarray(0, 1000));
    });
    const abort = new AbortController();
    const answer = await client().send({ url, totalMs: 30_000, signal: abort.signal });
    const reading = answer.each(Infinity, () => {
      abort.abort();
    });
    await assert.rejects(reading, { code: 'HTTP_CANCELLED' });
  });

  it('fails when it has failed before its reader asks', async () => {
    const first = 'HTTP/1.1 200 OK\r\n';
    const ends: readonly [string, (socket: Socket) => unknown][] = [
      ['HTTP_BAD_ANSWER', (socket) => socket.write(`${first}Transfer-Encoding: chunked\r\n\r\nzz\r\n`)],
      ['HTTP_UNREACHABLE', (socket) => socket.end(`${first}Content-Length: 100\r\n\r\n`)],
      ['HTTP_CANCELLED', (socket) => socket.write(`${first}Content-Length: 100\r\n\r\n`)],
    ];
    for (const [code, end] of ends) {
      const abort = new AbortController();
      const url = await serveRaw(end);
      const answer = await client().send({ url, totalMs: 30_000, signal: abort.signal });
      if (code === 'HTTP_CANCELLED') abort.abort();
      await sleep(50);
      const reading = answer.each(Infinity, () => undefined);
      await assert.rejects(Promise.race([reading, sleep(5000)]), { code });
    }
  });

  it('is empty without a call', async () => {
    const { url } = await serve((_request, response) => void response.writeHead(200).end());
    assert.equal((await collect(await get(client(), url))).length, 0);
  });
});

describe('a body of the same client that is read in another way', () => {
  it('keeps its bytes while more arrive', async () => {
    const { url } = await serve(whole);
    const kept: Uint8Array[] = [];
    for await (const chunk of (await get(client(), url)).chunks(Infinity)) kept.push(chunk);
    assert.ok(Buffer.concat(kept).equals(content));
  });

  it('is not changed while its reader waits and others receive', async () => {
    const { url } = await serve(whole);
    const one = client();
    const slow = (await get(one, url)).chunks(Infinity)[Symbol.asyncIterator]();
    const first = await slow.next();
    assert.ok((await collect(await get(one, url))).equals(content));
    const kept = [first.value as Uint8Array];
    for (let next = await slow.next(); next.done !== true; next = await slow.next()) {
      kept.push(next.value);
      if (kept.length % 8 === 0) await sleep(1);
    }
    assert.ok(Buffer.concat(kept).equals(content));
  });

  it('may be read as a whole, or be discarded', async () => {
    const { url } = await serve((_request, response) => void response.end('a short text'));
    const one = client();
    assert.equal(String(await (await get(one, url)).bytes(100)), 'a short text');
    await (await get(one, url)).discard();
    assert.equal(String(await (await get(one, url)).bytes(100)), 'a short text');
  });
});

describe('a connection with one buffer', () => {
  const location = `/${'a'.repeat(70)}`;
  const head = `HTTP/1.1 200 OK\r\nETag: "first"\r\nX-Place: ${location}\r\nContent-Length: 4\r\n\r\nbody`;

  for (const pauseMs of [undefined, 5]) {
    for (const isTls of [false, true]) {
      const how = `${isTls ? 'over TLS' : 'plain'}, ${pauseMs ?? 'no'} ms between pieces`;
      it(`keeps a head that arrives in pieces, ${how}`, async () => {
        const tls = isTls ? identity() : undefined;
        const url = await serveRaw(async (socket) => {
          for (let at = 0; at < head.length; at += 20) {
            socket.write(head.slice(at, at + 20));
            if (pauseMs !== undefined) await sleep(pauseMs);
          }
        }, tls);
        const answer = await (tls === undefined ? get(client(), url) : getOver(tls, client(), url));
        assert.deepEqual([answer.header('etag'), answer.header('x-place')], ['"first"', location]);
        assert.equal(String(await answer.bytes(10)), 'body');
      });
    }
  }

  it('keeps records of TLS that arrive while the reader waits', async () => {
    const tls = identity();
    const parts = ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'];
    for (let at = 0; at < 500_000; at += 100)
      parts.push('64\r\n', content.toString('latin1', at, at + 100), '\r\n');
    parts.push('0\r\n\r\n');
    const url = await serveRaw((socket) => {
      // As servers in Go do for the first records.
      (socket as TLSSocket).setMaxSendFragment(1200);
      socket.write(Buffer.from(parts.join(''), 'latin1'));
    }, tls);
    const expected = content.subarray(0, 500_000);
    const one = client();
    const late = await getOver(tls, one, url);
    await sleep(50);
    assert.ok((await collect(late)).equals(expected));
    const kept: Uint8Array[] = [];
    for await (const chunk of (await getOver(tls, one, url)).chunks(Infinity)) {
      kept.push(chunk);
      if (kept.length % 100 === 0) await sleep(1);
    }
    assert.ok(Buffer.concat(kept).equals(expected));
  });
});
