import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import type { TestContext } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createHttpServer, createPeerShares } from '../../base/connections/index.ts';
import { createKeyedQueue } from '../../base/queues/index.ts';
import { access, startFleet } from '../fleet.fixture.ts';
import type { Reader } from '../store/queries.ts';
import { answerRequest } from './answer-request.ts';
import type { RequestContext } from './answer-request.ts';
import { createFleetCounts } from './metrics.ts';

it('a client without a token that sends very many requests before it reads is disconnected', async (t) => {
  const { url } = await startFleet(t, { access });
  const client = connect(Number(new URL(url).port), '127.0.0.1');
  t.after(() => client.destroy());
  client.on('error', () => undefined);
  await once(client, 'connect');
  client.pause();
  client.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(2000));
  const closed = new Promise((resolve) => client.once('close', resolve));
  let text = '';
  client.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  client.resume();
  // An idle connection stays open for two minutes.
  await Promise.race([
    closed,
    new Promise((_resolve, reject) => setTimeout(reject, 5000, new Error('it is not disconnected')).unref()),
  ]);
  assert.ok(text.split('HTTP/1.1 200').length <= 33);
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
});

/** A reader of the store whose answers the test delays and counts. */
function slowReader(): { readonly reader: Reader; readonly most: () => number } {
  let [now, most] = [0, 0];
  const all: Reader['all'] = async () => {
    most = Math.max(most, (now += 1));
    await pause(5);
    now -= 1;
    return [];
  };
  return { reader: { all, get: async () => undefined }, most: () => most };
}

/**
 * Serves readers by a reader of the store.
 * @param bytes memory for all answers
 */
async function serveReader(
  t: TestContext,
  reader: Reader,
  bytes: number,
): Promise<{ readonly get: () => Promise<number> }> {
  const context: RequestContext = {
    identify: () => ({ role: 'reader', name: 'r' }),
    reader,
    pages: undefined,
    counts: createFleetCounts(reader, Date.now),
    receive: {} as RequestContext['receive'],
    queries: createKeyedQueue(),
    responses: createPeerShares(bytes),
    clock: Date.now,
    onFailure: undefined,
  };
  const server = createHttpServer((request, response) => void answerRequest(context, request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return {
    async get() {
      const answer = await fetch(`http://127.0.0.1:${port}/v1/nodes`, { headers: { connection: 'close' } });
      await answer.text();
      return answer.status;
    },
  };
}

it('a client has one query at a time', async (t) => {
  const { reader, most } = slowReader();
  const { get } = await serveReader(t, reader, 2 ** 20);
  assert.deepEqual(new Set(await Promise.all(Array.from({ length: 8 }, get))), new Set([200]));
  assert.equal(most(), 1);
});

it('a client that has no memory left for an answer gets 503', async (t) => {
  const { get } = await serveReader(t, slowReader().reader, 8);
  assert.equal(await get(), 503);
});
