import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { parseIp } from '../../base/addresses/index.ts';
import { openDnsListener } from './listener.ts';
import { ownNamespace } from './open-namespaces.ts';
import { framed } from './stream-frames.ts';

const address = parseIp('127.0.0.1');
const questions = 2000;

/** Sends many questions at once over TCP, and reads no answer. Returns how many were passed on. */
async function passedOn(port: number, answerBytes: number): Promise<{ count: number; received: number }> {
  assert.ok(address);
  let count = 0;
  const listener = openDnsListener({
    ...{ place: ownNamespace(), address, port, onQueriesReceived: () => undefined },
    onQuery(received) {
      count += 1;
      received.reply(Buffer.alloc(answerBytes));
    },
    onFailure: (why) => assert.fail(why),
  });
  try {
    const client = connect(port, '127.0.0.1');
    client.pause();
    await once(client, 'connect');
    const one = framed(Buffer.alloc(30));
    client.write(Buffer.concat(Array.from({ length: questions }, () => one)));
    for (let before = -1; before !== count || count === 0;) {
      before = count;
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
    const beforeReading = count;
    let received = 0;
    client.on('data', (bytes) => (received += bytes.length));
    client.on('error', () => undefined);
    client.resume();
    const all = questions * (answerBytes + 2);
    for (const end = Date.now() + 60_000; !client.destroyed && received < all && Date.now() < end;)
      await new Promise((resolve) => setTimeout(resolve, 20));
    client.destroy();
    return { count: beforeReading, received };
  } finally {
    listener.close();
  }
}

test('for a client that does not read its answers, only some megabytes of answers are stored', async () => {
  const { count } = await passedOn(25_353, 60_000);
  assert.ok(count < 200, `${count} answers of 60 kB were made`);
});

test('a client that sends thousands of questions at once gets all of its short answers', async () => {
  const { received } = await passedOn(25_354, 200);
  assert.equal(received, questions * 202);
});

test('a question over TCP that cannot be looked up closes the listener, and reports why', async () => {
  assert.ok(address);
  const failed = Promise.withResolvers<string>();
  const listener = openDnsListener({
    ...{ place: ownNamespace(), address, port: 25_356, onQueriesReceived: () => undefined },
    onQuery() {
      throw new Error('disk I/O error');
    },
    onFailure: failed.resolve,
  });
  try {
    const client = connect(25_356, '127.0.0.1');
    const closed = once(client, 'close');
    client.write(framed(Buffer.alloc(30)));
    assert.match(await failed.promise, /disk I\/O error/u);
    await closed;
  } finally {
    listener.close();
  }
});

test('a client that closes its side after its questions gets all answers, and then the end', async () => {
  assert.ok(address);
  const replies: (() => void)[] = [];
  const listener = openDnsListener({
    ...{ place: ownNamespace(), address, port: 25_355, onQueriesReceived: () => undefined },
    onQuery: ({ reply }) => void replies.push(() => reply(Buffer.alloc(40))),
    onFailure: (why) => assert.fail(why),
  });
  try {
    const client = connect({ port: 25_355, host: '127.0.0.1', allowHalfOpen: true });
    let received = 0;
    client.on('data', (bytes) => (received += bytes.length));
    const ended = once(client, 'end');
    client.end(Buffer.concat([framed(Buffer.alloc(30)), framed(Buffer.alloc(30))]));
    while (replies.length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    // The answers of another name server come after the end of the questions.
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const reply of replies) {
      reply();
      await new Promise((resolve) => setImmediate(resolve));
    }
    await ended;
    assert.equal(received, 2 * 42);
    client.destroy();
  } finally {
    listener.close();
  }
});
