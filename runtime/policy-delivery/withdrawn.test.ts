import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';

import { test } from 'node:test';
import { withdrawRelease } from '../../trust/policy-release/index.ts';
import { beginFleet, mayRun, startNode } from './fleet.fixture.ts';

const shop = 'r.test/shop/web:1';

test('a withdrawn release admits no image while the next release is withheld, also after a restart', async (t) => {
  const fleet = await beginFleet(t);
  await fleet.publish(['r.test/other/**']);
  await fleet.publish(['r.test/shop/**']);
  const node = await startNode(fleet, 'node');
  t.after(() => node.close());
  await node.subscriber.poll();
  assert.equal(node.subscriber.status().release?.number, 2);
  await fleet.asOwner((owner) => withdrawRelease(owner, 'stable', 2));
  fleet.fault = (request, response) => {
    if (request.url?.endsWith('.1.tar') !== true) return false;
    response.writeHead(404).end();
    return true;
  };
  await node.subscriber.poll();
  const { state, problem } = node.subscriber.status();
  assert.deepEqual([state, problem?.code], ['withdrawn', 'TRUST_TUF_MISSING']);
  assert.equal(mayRun(node.holder.current(), shop), false, 'the withdrawn release is not used for decisions');
  await node.close();
  fleet.fault = (request) => void request.destroy() === undefined;
  const again = await startNode(fleet, 'node');
  t.after(() => again.close());
  assert.equal(mayRun(again.holder.current(), shop), false, 'nor after a restart without the service');
  assert.equal(again.subscriber.status().state, 'withdrawn');
  fleet.fault = () => false;
  await again.subscriber.poll();
  assert.deepEqual(
    [again.subscriber.status().state, again.subscriber.status().release?.number],
    ['current', 1],
  );
  assert.equal(mayRun(again.holder.current(), 'r.test/other/app:1'), true);
});
