import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
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
    waiting.push(ask('/validate?timeout=4s', Buffer.from(body)));
    while (asked() <= index) await sleep(10);
  }
  const used = heapMiB() - before;
  assert.ok(used < 40, `four waiting reviews use ${used.toFixed(0)} MiB of the heap`);
  await Promise.all(waiting);
});
