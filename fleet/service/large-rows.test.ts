import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { genesis, rowHash } from '../../trust/verdict-log/index.ts';
import { access, post, read, requestOf, rowRecord, startFleet, tokens, until } from '../fleet.fixture.ts';
import type { StoredRow } from '../store/queries.ts';

/** Sends rows of a node, one in each request. A row of this kind can have any content. */
async function send(url: string, count: number, characters: number): Promise<void> {
  let hash = genesis;
  for (let seq = 1; seq <= count; seq += 1) {
    const entry = JSON.stringify({ kind: 'later', pad: 'a'.repeat(characters), time: '' });
    hash = rowHash(hash, { seq, entry, evidence: '' });
    const body = gzipSync(requestOf('a', [rowRecord({ seq, entry, evidence: '', hash })]));
    const answer = await post(url, body, { 'content-encoding': 'gzip' });
    assert.equal(answer.headers.get('portcullis-next-row'), String(seq + 1), await answer.text());
  }
}

interface LogPage {
  readonly rows: readonly StoredRow[];
  readonly next?: string;
}

test('a page of the log of a node is bounded in bytes, and the pages together have every row', async (t) => {
  const { url } = await startFleet(t, { access });
  await send(url, 5, 3 * 2 ** 20);
  const pages: number[][] = [];
  for (let after: string | undefined = '0'; after !== undefined;) {
    const page: LogPage = await read(url, `/v1/nodes/a/log?most=1000&after=${after}`);
    pages.push(page.rows.map(({ seq }) => seq));
    after = page.next;
  }
  assert.deepEqual(pages, [[1, 2], [3, 4], [5]]);
  const short = await read<LogPage>(url, '/v1/nodes/a/log?most=1');
  assert.deepEqual([short.rows.length, short.next], [1, '1']);
});

test('rows beyond the limit of the store are removed while they arrive', { timeout: 60_000 }, async (t) => {
  const { url } = await startFleet(t, { access, keepBytes: 2 ** 20 });
  await send(url, 8, 2 ** 18);
  await until(async () => {
    const answer = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${tokens.r}` } });
    const [, bytes] = /^portcullis_fleet_stored_bytes (\d+)$/mu.exec(await answer.text()) ?? [];
    return Number(bytes) <= 2 ** 20;
  });
});

test('fields of a verdict that a list shows have a limit, and its row is stored completely', async (t) => {
  const { url } = await startFleet(t, { access });
  const entry = JSON.stringify({
    ...{ decidedAt: '', digest: '', dossier: '', kind: 'verdict', namespace: 'n'.repeat(2 ** 20) },
    ...{ outcome: 'deny', policy: '', policyRevision: '', reference: 'r'.repeat(2 ** 20) },
    ...{ time: '2026-01-01T00:00:00.000Z', verdict: 'sha256:0' },
  });
  const row = { seq: 1, entry, evidence: '', hash: rowHash(genesis, { seq: 1, entry, evidence: '' }) };
  await post(url, requestOf('a', [rowRecord(row)]));
  const { verdicts } = await read<{ verdicts: readonly { reference: string; namespace: string }[] }>(
    url,
    '/v1/verdicts?most=1000',
  );
  assert.deepEqual(
    verdicts.map(({ reference, namespace }) => [reference.length, namespace.length]),
    [[4096, 4096]],
  );
  assert.deepEqual((await read<LogPage>(url, '/v1/nodes/a/log')).rows, [row]);
});
