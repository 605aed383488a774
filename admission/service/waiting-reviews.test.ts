import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { connect } from 'node:tls';
import { reviewOf, signedPolicy, startTestWebhook } from '../webhook.fixture.ts';

/** Serves a registry that accepts connections and never answers. @returns its host */
async function serveSilence(t: TestContext): Promise<{ readonly host: string; asked(): number }> {
  let asked = 0;
  const server = createServer((socket) => {
    asked += 1;
    t.after(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, asked: () => asked };
}

function heapMiB(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed / 2 ** 20;
}

test('an object of many small parts takes no memory while its review waits for a registry', async (t) => {
  const { host, asked } = await serveSilence(t);
  const { ask } = await startTestWebhook(t, signedPolicy);
  // Three bytes in JSON, and about sixty in memory.
  const tolerations = '{},'.repeat(900_000);
  const waiting: Promise<unknown>[] = [];
  const before = heapMiB();
  for (const index of [0, 1, 2, 3]) {
    const body = reviewOf({
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web' } },
      spec: { containers: [{ name: 'a', image: `${host}/a${index}:1` }], tolerations: ['?'] },
    }).replace('"?"', `${tolerations}{}`);
    waiting.push(ask('/validate?timeout=10s', Buffer.from(body)));
    while (asked() <= index) await sleep(10);
  }
  const used = heapMiB() - before;
  assert.ok(used < 40, `four waiting reviews use ${used.toFixed(0)} MiB of the heap`);
  await Promise.all(waiting);
});

/** Begins reviews of one host whose bodies do not end. @returns a function that ends them */
async function beginReviews(url: string, count: number, bytes: number): Promise<() => void> {
  const { hostname: host, port } = new URL(url);
  const part = Buffer.alloc(bytes, ' ');
  const head = `POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${bytes + 1}\r\n\r\n`;
  const sockets: Socket[] = [];
  const begin = async (): Promise<void> => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
    sockets.push(socket);
    // The webhook may refuse it.
    socket.on('error', () => undefined);
    await once(socket, 'secureConnect');
    socket.write(head);
    await new Promise((resolve) => void socket.write(part, resolve));
  };
  for (let begun = 0; begun < count; begun += 32)
    await Promise.all(Array.from({ length: Math.min(32, count - begun) }, begin));
  await sleep(300);
  return () => sockets.forEach((socket) => socket.destroy());
}

for (const [title, count, bytes] of [
  ['as many reviews as it can', 1100, 1],
  ['reviews with as many bytes as it can', 18, 6 * 1024 * 1024],
] as const)
  test(`a host that begins ${title} does not lock the API server out`, async (t) => {
    const { ask, webhook } = await startTestWebhook(t, signedPolicy);
    const end = await beginReviews(webhook.url, count, bytes);
    const annotations = { a: 'x'.repeat(bytes) };
    const review = reviewOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', annotations } });
    let own = await ask('/validate', review);
    // The webhook may not have read all of them yet.
    for (let attempt = 0; own.status === 200 && attempt < 100; attempt += 1) {
      await sleep(100);
      own = await ask('/validate', review);
    }
    const { status, response, body } = await ask('/validate', review, { localAddress: '127.0.0.2' });
    end();
    assert.ok([429, 503].includes(own.status), `${own.status} ${own.body}`);
    assert.equal(status, 200, body);
    assert.equal(response.allowed, true);
  });

test('objects of many parts from one host do not delay the reviews of another host until all are examined', async (t) => {
  const { ask, webhook } = await startTestWebhook(t, signedPolicy);
  const { hostname: host, port } = new URL(webhook.url);
  const body = reviewOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: ['?'] });
  const large = body.replace('"?"', `${'{},'.repeat(300_000)}{}`);
  const head = `POST /validate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: ${large.length}\r\n\r\n`;
  let answered = 0;
  const sockets = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const at = { host, port: Number(port), localAddress: '127.0.0.2', rejectUnauthorized: false };
      const socket = connect(at);
      t.after(() => socket.destroy());
      socket.once('data', () => (answered += 1));
      await once(socket, 'secureConnect');
      await new Promise((resolve) => void socket.write(head + large.slice(0, -1), resolve));
      return socket;
    }),
  );
  assert.equal((await ask('/validate', body)).status, 200);
  await sleep(300);
  for (const socket of sockets) socket.write('}');
  const { response } = await ask('/validate', body);
  assert.equal(response.allowed, true);
  assert.ok(answered < 6, `${answered} of 10 were answered before`);
  while (answered < 10) await sleep(10);
});

test('an object of many parts delays neither health probes nor smaller reviews', async (t) => {
  const { ask } = await startTestWebhook(t, signedPolicy);
  const small = reviewOf({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a' }, data: {} });
  const fields = Object.fromEntries(Array.from({ length: 300_000 }, (_, index) => [`k${index}`, {}]));
  const custom = { apiVersion: 'example.com/v1', kind: 'Custom', metadata: { name: 'a' }, spec: fields };
  const large = reviewOf(custom, { operation: 'UPDATE', oldObject: custom });
  const answered: string[] = [];
  const note = (name: string) => (): void => void answered.push(name);
  // Both connections are open before.
  await Promise.all([ask('/healthz'), ask('/validate', small)]);
  const examined = ask('/validate', large).then(note('large'));
  await Promise.all(
    Array.from({ length: 20 }, async () => {
      await sleep(20 * Math.random());
      await ask('/healthz').then(note('probe'));
      await ask('/validate', small).then(note('small'));
    }),
  );
  await examined;
  assert.deepEqual(answered.at(-1), 'large');
});
