import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { createHttpServer, createPeerShares } from '../../base/connections/index.ts';
import type { Examined } from './examine-review.ts';
import { answerRequest } from './answer-request.ts';
import type { RequestContext } from './answer-request.ts';
import { createWebhookCounts } from './metrics.ts';

test('a review that waits for its turn is answered when its time limit has passed, and keeps its place in memory', async (t) => {
  const turn = Promise.withResolvers<Examined | undefined>();
  const bodies = createPeerShares(1024);
  const context = {
    ...{ allowUnread: false, body: { sent: 100, unpacked: 100 }, bodies, reviews: createPeerShares(8) },
    examiner: { examine: () => turn.promise },
    counts: createWebhookCounts(() => ({ hasPolicy: true, policyIsCurrent: true, certificateSeconds: 0 })),
  } as unknown as RequestContext;
  const server = createHttpServer((request, response) => void answerRequest(context, request, response));
  t.after(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const free = (): number => bodies.of('127.0.0.1').free;
  const before = free();
  const answer = await fetch(`http://127.0.0.1:${port}/validate?timeout=0.5s`, {
    ...{ method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } },
  });
  assert.deepEqual([answer.status, (await answer.text()).includes('time limit')], [503, true]);
  assert.ok(free() < before, 'its body still waits');
  turn.resolve(undefined);
  await turn.promise;
  await Promise.resolve();
  assert.equal(free(), before);
});
