import assert from 'node:assert/strict';
import { test } from 'node:test';
import { genesis, rowHash } from '../../trust/verdict-log/index.ts';
import { post, requestOf, rowRecord, startFleet, temporaryFolder } from '../fleet.fixture.ts';

const dayMs = 86_400_000;

test('a clock that is ahead at the start is reported, and does not remove all rows', async (t) => {
  const data = await temporaryFolder(t);
  const now = Date.now();
  const entry = JSON.stringify({ kind: 'later', time: '' });
  const row = { seq: 1, entry, evidence: '', hash: rowHash(genesis, { seq: 1, entry, evidence: '' }) };
  const rowsAfter = async (days: number, node?: string): Promise<readonly string[]> => {
    const reported: string[] = [];
    const service = await startFleet(t, {
      ...{ data, keepDays: 30, clock: () => now + days * dayMs },
      onFailure: ({ code }) => void reported.push(code),
    });
    if (node !== undefined) await post(service.url, requestOf(node, [rowRecord(row)]));
    await service.close();
    return reported;
  };
  assert.deepEqual(await rowsAfter(0, 'a'), []);
  assert.deepEqual(await rowsAfter(10, 'b'), []);
  assert.deepEqual(await rowsAfter(365), ['FLEET_CLOCK']);
  const { url } = await startFleet(t, { data });
  const logOf = async (node: string): Promise<number> =>
    ((await (await fetch(`${url}/v1/nodes/${node}/log`)).json()) as { rows: readonly unknown[] }).rows.length;
  assert.deepEqual([await logOf('a'), await logOf('b')], [0, 1]);
});

test('a node that last sent while the clock was ahead is silent', async (t) => {
  const data = await temporaryFolder(t);
  const now = Date.now();
  const entry = JSON.stringify({ kind: 'later', time: '' });
  const row = { seq: 1, entry, evidence: '', hash: rowHash(genesis, { seq: 1, entry, evidence: '' }) };
  const ahead = await startFleet(t, { data, clock: () => now + 365 * dayMs });
  for (const node of ['a', 'b']) await post(ahead.url, requestOf(node, [rowRecord(row)]));
  await ahead.close();
  const { url } = await startFleet(t, { data, clock: () => now });
  await post(url, requestOf('b', [rowRecord(row)]));
  const answer = await fetch(`${url}/v1/alerts`);
  const { alerts } = (await answer.json()) as { alerts: readonly { node: string; code: string }[] };
  assert.deepEqual(
    alerts.map(({ node, code }) => [node, code]),
    [['a', 'NODE_SILENT']],
  );
});

test('rows that came while the clock was ahead do not keep later rows from being removed', async (t) => {
  const data = await temporaryFolder(t);
  const now = Date.now();
  const serveAt = (days: number) => startFleet(t, { data, keepDays: 30, clock: () => now + days * dayMs });
  const entry = JSON.stringify({ kind: 'later', time: '' });
  let hash = genesis;
  for (const [index, days] of [365, 0].entries()) {
    const seq = index + 1;
    hash = rowHash(hash, { seq, entry, evidence: '' });
    const service = await serveAt(days);
    const record = rowRecord({ seq, entry, evidence: '', hash });
    await post(service.url, requestOf('a', [{ ...record, time: now }]));
    await service.close();
  }
  await (await serveAt(31)).close();
  const { url } = await serveAt(31);
  const { rows } = (await (await fetch(`${url}/v1/nodes/a/log`)).json()) as { rows: readonly unknown[] };
  assert.deepEqual(rows, []);
});

test('a clock that is behind at a start does not let rows be removed early', async (t) => {
  const data = await temporaryFolder(t);
  const now = Date.now();
  const serveAt = (days: number) => startFleet(t, { data, keepDays: 30, clock: () => now + days * dayMs });
  const entry = JSON.stringify({ kind: 'later', time: '' });
  const row = { seq: 1, entry, evidence: '', hash: rowHash(genesis, { seq: 1, entry, evidence: '' }) };
  for (const days of [0, -365]) {
    const service = await serveAt(days);
    await post(service.url, requestOf('a', [{ ...rowRecord(row), time: now }]));
    await service.close();
  }
  await (await serveAt(1)).close();
  const { url } = await serveAt(1);
  const { rows } = (await (await fetch(`${url}/v1/nodes/a/log`)).json()) as { rows: readonly unknown[] };
  assert.equal(rows.length, 1);
});
