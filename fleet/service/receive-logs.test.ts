import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { post, requestOf, startFleet } from '../fleet.fixture.ts';

const head =
  'POST /v1/logs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-protobuf\r\nExpect: 100-continue\r\n';

/** Sends the head of a request, and waits until the service asks for the body. */
async function begin(t: TestContext, url: string, headers: string): Promise<void> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => socket.destroy());
  socket.write(`${head}${headers}\r\n`);
  await once(socket, 'data');
}

test('bodies that are announced and not sent do not use the places of others', async (t) => {
  const { url } = await startFleet(t);
  for (let slow = 0; slow < 40; slow += 1)
    await begin(t, url, 'Content-Encoding: gzip\r\nContent-Length: 4000000\r\n');
  const answer = await post(url, gzipSync(requestOf('a', [])), { 'content-encoding': 'gzip' });
  assert.equal(answer.status, 200, await answer.text());
});
