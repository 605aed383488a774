import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer } from './node-http.ts';
import { answerOrEnd, endWith } from './send-answer.ts';

test(
  'a large body is written only as fast as its client reads it, and arrives complete',
  { timeout: 60_000 },
  async (t) => {
    const body = Buffer.alloc(64 * 1024 * 1024, 'abcdefghijklmno');
    const begun = Promise.withResolvers<ServerResponse>();
    const server = createHttpServer((_request, response) => {
      response.writeHead(200, { 'Content-Length': body.length, Connection: 'close' });
      endWith(response, body);
      begun.resolve(response);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const response = await begun.promise;
    const waiting = (): number => response.socket?.writableLength ?? 0;
    while (waiting() === 0) await pause(5);
    const held = waiting();
    assert.ok(held < 2 * 1024 * 1024, `${held} bytes wait for the client`);
    const received: Buffer[] = [];
    for await (const chunk of client as AsyncIterable<Buffer>) received.push(chunk);
    const answer = Buffer.concat(received);
    assert.ok(answer.subarray(answer.indexOf('\r\n\r\n') + 4).equals(body));
  },
);

test('a client that leaves while it gets a large body ends only its own response', async (t) => {
  const ended = Promise.withResolvers<void>();
  const server = createHttpServer((_request, response) => {
    response.once('close', () => ended.resolve());
    endWith(response, Buffer.alloc(64 * 1024 * 1024));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(client, 'data');
  client.destroy();
  await ended.promise;
});

test('a client that has left before its large body is there is no failure', async (t) => {
  const outcome = Promise.withResolvers<string>();
  const server = createHttpServer((_request, response) => {
    response.once('close', () => {
      try {
        response.writeHead(200);
        endWith(response, Buffer.alloc(1024 * 1024));
        outcome.resolve('none');
      } catch (thrown) {
        outcome.resolve(String(thrown));
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  server.once('request', () => client.destroy());
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal(await outcome.promise, 'none');
});

test('an answer to a client that has left is counted as 499, and not as a failure of the service', async (t) => {
  const counted = Promise.withResolvers<number>();
  const server = createHttpServer((request, response) => {
    const answer = async () => {
      await once(response, 'close');
      return { status: 503, headers: {}, body: 'busy' };
    };
    void answerOrEnd(request, response, answer, counted.resolve);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
  server.once('request', () => client.destroy());
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  assert.equal(await counted.promise, 499);
});
