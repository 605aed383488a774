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
