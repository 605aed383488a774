import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { genesis, rowHash } from '../../trust/verdict-log/index.ts';
import { post, requestOf, rowRecord, startFleet } from '../fleet.fixture.ts';

test('a full disk is reported once, and each node is asked to send again', { timeout: 60_000 }, async (t) => {
  const data = mkdtempSync(join(tmpdir(), 'fleet-full-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', data]);
  t.after(() => {
    execFileSync('umount', ['--lazy', data]);
    rmSync(data, { recursive: true });
  });
  const reported: string[] = [];
  const { url } = await startFleet(t, { data, onFailure: ({ code }) => void reported.push(code) });
  const entry = JSON.stringify({ kind: 'later', pad: 'a'.repeat(3_500_000), time: '' });
  const row = { seq: 1, entry, evidence: '', hash: rowHash(genesis, { seq: 1, entry, evidence: '' }) };
  for (const node of ['a', 'b', 'c']) {
    const body = requestOf(node, [rowRecord(row)]);
    const answer = await post(url, body);
    assert.equal(answer.status, 503, await answer.text());
    assert.equal(answer.headers.get('retry-after'), '5');
  }
  assert.deepEqual(reported, ['STORAGE_DISK_FULL']);
});
