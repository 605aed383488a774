import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { assertNearLinearWork } from '../../test/fixtures/cost.ts';
import { openDatabase } from '../../base/storage/index.ts';
import { goodState, temporaryFolder } from '../fleet.fixture.ts';
import { createIntake } from '../intake/intake.ts';
import { eventNames } from '../records/record-names.ts';
import { newNode } from './node-record.ts';
import type { AcceptedRow } from './node-record.ts';
import { openFleetStore } from './store.ts';
import type { FleetStore } from './store.ts';
import { listUpcoming } from './policy-queries.ts';
import { listContainersOf, listRunning } from './running-queries.ts';
import { fleetMigrations } from './schema.ts';

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

test('rows count with about the bytes that they take on the disk, whatever their characters', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openFleetStore(folder);
  const rows = Array.from({ length: 64 }, (_, index): AcceptedRow => {
    const field = (name: string): string => `${name}-${index}`.padEnd(4096, '\u4e00');
    const [id, reference, digest] = [field('id'), field('reference'), field('digest')];
    const [namespace, revision] = [field('namespace'), field('revision')];
    return {
      ...{ seq: index + 1, evidence: '', hash: '' },
      entry: [id, reference, digest, namespace, revision].join(),
      verdict: { id, time: 0, outcome: 'deny', reference, digest, namespace, revision },
    };
  });
  await keep(store, 'a', 0, rows);
  const counted = Number((await store.database.get('SELECT bytes FROM node'))?.['bytes']);
  await store.close();
  const { size } = statSync(join(folder, 'fleet.db'));
  assert.ok(counted > size / 2 && counted < size * 2, `${counted} of ${size}`);
});

const hourMs = 3_600_000;
const rowsOf = async (store: FleetStore): Promise<readonly (readonly unknown[])[]> =>
  (
    await store.database.all(
      'SELECT name, row.seq AS seq FROM row JOIN node ON node.id = row.node ORDER BY 1, 2',
    )
  ).map(({ name, seq }) => [name, seq]);

test('a clock that jumps forward removes the rows of six hours, and not all of them', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  for (const hour of [0, 5, 7, 100]) await keep(store, `n${hour}`, hour * hourMs, [rowOf(1)]);
  const year = 9000 * hourMs;
  assert.deepEqual(await store.expire({ before: year, bytes: Infinity }), {
    removed: 2,
    overdueMs: year - 6 * hourMs,
  });
  assert.deepEqual(await rowsOf(store), [
    ['n100', 1],
    ['n7', 1],
  ]);
  // The clock was corrected.
  assert.deepEqual(await store.expire({ before: 0, bytes: Infinity }), { removed: 0, overdueMs: 0 });
  await store.expire({ before: year, bytes: 0 });
  assert.deepEqual(await rowsOf(store), [], 'the limit of bytes applies at once');
});

test('a row that came while the clock was ahead keeps the rows after it, so that the chain has no gap', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const seenAt = (seen: number, seq: number): Promise<void> =>
    store.keep({ node: { ...newNode('a'), seen, seq }, rows: [rowOf(seq)], problems: [] });
  await seenAt(1, 1);
  await seenAt(9000, 2);
  await seenAt(2, 3);
  await store.expire({ before: 5, bytes: Infinity });
  assert.deepEqual(await rowsOf(store), [
    ['a', 2],
    ['a', 3],
  ]);
});

test('a removal without old rows writes nothing, however many nodes there are', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openFleetStore(folder);
  t.after(() => store.close());
  for (let node = 0; node < 50; node += 1) await keep(store, `n${node}`, 10, [rowOf(1)]);
  const written = (): number => statSync(join(folder, 'fleet.db-wal')).size;
  const before = written();
  const version = await store.database.get('PRAGMA data_version');
  await store.expire({ before: 5, bytes: Infinity });
  assert.equal(written(), before);
  assert.deepEqual(await store.database.get('PRAGMA data_version'), version);
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

test('the images that run are those of the latest state of each node', async (t) => {
  const store = await openFleetStore(await temporaryFolder(t));
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  const send = async (node: string, ...references: readonly string[]): Promise<void> => {
    const running = references.map((reference, index) => ({
      ...{
        id: String(index),
        namespace: 'n',
        pod: 'p',
        name: 'c',
        reference,
        imageId: reference,
        verdict: 'v',
      },
    }));
    const body = JSON.stringify({ ...goodState, running });
    await intake.receive(node, [
      { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
    ]);
  };
  const images = async () =>
    (await listRunning(store.database, '', { reference: '' }, 10)).map((one) => [
      ...[one.reference, one.containers, one.nodes],
    ]);
  await send('a', 'x', 'x', 'y');
  await send('b', 'x');
  await send('b', 'x');
  assert.deepEqual(await images(), [
    ['x', 3, 2],
    ['y', 1, 1],
  ]);
  await send('a', 'z');
  assert.deepEqual(await images(), [
    ['x', 1, 1],
    ['z', 1, 1],
  ]);
  await store.forget('a');
  assert.deepEqual(await images(), [['x', 1, 1]]);
});

test('a list of the containers of an image reads no states of nodes without this image', async (t) => {
  const folder = await temporaryFolder(t);
  const store = await openFleetStore(folder);
  t.after(() => store.close());
  const intake = createIntake(store, { now: () => 0, pinnedKey: () => undefined });
  for (const [node, reference] of [
    ['a', 'other'],
    ['b', 'x'],
    ['c', 'other'],
  ] as const) {
    const one = { id: '1', namespace: 'n', pod: 'p', name: 'c', reference, imageId: 'y', verdict: 'v' };
    const body = JSON.stringify({ ...goodState, running: [one] });
    await intake.receive(node, [
      { attributes: new Map(), records: [{ event: eventNames.state, time: 0, attributes: new Map(), body }] },
    ]);
  }
  const database = await openDatabase({ path: join(folder, 'fleet.db'), migrations: fleetMigrations });
  t.after(() => database.close());
  // A query that reads this state fails.
  await database.write([{ sql: "UPDATE node SET state = 'no JSON' WHERE name <> 'b'", params: [] }]);
  const { entries } = await listContainersOf(store.database, { reference: 'x' }, undefined, 10);
  assert.deepEqual(
    entries.map(({ node }) => node),
    ['b'],
  );
});

test('an upgrade keeps the images and releases of the states that are stored', async (t) => {
  const folder = await temporaryFolder(t);
  const earlier = await openDatabase({
    path: join(folder, 'fleet.db'),
    migrations: fleetMigrations.slice(0, 2),
  });
  const one = { id: '1', namespace: 'n', pod: 'p', name: 'c', reference: 'x', imageId: 'y', verdict: 'v' };
  const upcoming = { release: 'stable/2', revision: 'r', denials: [], count: 0 };
  const state = JSON.stringify({ ...goodState, running: [one, { ...one, id: '2' }], upcoming });
  for (const [name, text] of [
    ['a', state],
    ['b', ''],
  ])
    await earlier.write([
      {
        sql: `INSERT INTO node (name, labels, seen, seq, hash, key, signed, note, state, summary, bytes)
          VALUES (?, '{}', 0, 0, '', '', 0, '', ?, '', 0)`,
        params: [name ?? '', text ?? ''],
      },
    ]);
  await earlier.close();
  const store = await openFleetStore(folder);
  t.after(() => store.close());
  assert.deepEqual(await listRunning(store.database, '', { reference: '' }, 10), [
    { reference: 'x', imageId: 'y', verdict: 'v', containers: 2, nodes: 1 },
  ]);
  assert.deepEqual(
    (await listUpcoming(store.database)).map(({ release, nodes }) => [release, nodes]),
    [['stable/2', 1]],
  );
});
