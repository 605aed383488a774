import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { assertNearLinearWork } from '../../test/fixtures/cost.ts';
import { temporaryFolder } from '../fleet.fixture.ts';
import { newNode } from './node-record.ts';
import type { AcceptedRow } from './node-record.ts';
import { openFleetStore } from './store.ts';
import type { FleetStore } from './store.ts';

const rowOf = (seq: number): AcceptedRow => ({
  ...{ seq, entry: 'x'.repeat(256), evidence: '', hash: '' },
  verdict: {
    ...{ id: `sha256:${seq}`, time: 0, outcome: 'admit', reference: 'a', digest: 'b', namespace: 'c' },
    ...{ revision: 'd', text: { json: '{}', codes: ['CODE'] } },
  },
});

async function keep(
  store: FleetStore,
  name: string,
  seen: number,
  rows: readonly AcceptedRow[],
): Promise<void> {
  await store.keep({ node: { ...newNode(name), seen, seq: rows.length }, rows, problems: [] });
}

test('the cost to remove an old row is proportional to the number of verdicts that stay', async (t) => {
  const folder = await temporaryFolder(t);
  await assertNearLinearWork(
    'a removal beside n verdicts',
    async (n) => {
      const store = await openFleetStore(`${folder}/${n}`);
      t.after(() => store.close());
      await keep(
        store,
        'a',
        10,
        Array.from({ length: n }, (_, index) => rowOf(index + 1)),
      );
      let node = 0;
      return async () => {
        await keep(store, `b${(node += 1)}`, 1, [rowOf(1)]);
        await store.expire({ before: 5, bytes: Infinity });
      };
    },
    { n: 400 },
  );
});

test('what a node sends is stored while a long query runs, and the next query finds it', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  let running = true;
  const query = store.database
    .get(
      'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000000) SELECT max(i) FROM n',
    )
    .finally(() => (running = false));
  // The query has begun by then.
  await pause(200);
  await keep(store, 'a', 10, [rowOf(1)]);
  assert.ok(running, 'the node did not wait for the query');
  await query;
  assert.equal((await store.database.get('SELECT count(*) AS count FROM row'))?.['count'], 1);
});
