import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { amd64, now, policyOf } from '../evidence/fixtures/fixture-image.ts';
import { decideUnseen } from './decide-unseen.ts';
import { findVerdict, verdictLogMigrationSql, verdictLogStatement } from './verdict-log.ts';

test('verdicts are appended in order and never changed or removed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'trust-log-'));
  t.after(() => rm(folder, { recursive: true }));
  const database = await openDatabase({ path: join(folder, 'state.db'), migrations: [{ version: 1, sql: verdictLogMigrationSql }] });
  t.after(() => database.close());
  const verdict = decideUnseen({ reference: 'busybox', namespace: 'web', platform: amd64, policy: policyOf(), now });
  assert.ok(verdict);
  await database.write([verdictLogStatement(verdict), verdictLogStatement(verdict)]);
  const rows = await database.all<{ seq: number; id: string; json: string }>('SELECT seq, id, json FROM verdict_log ORDER BY seq');
  assert.deepEqual(
    rows.map(({ seq, id }) => [seq, id]),
    [
      [1, verdict.id],
      [2, verdict.id],
    ],
  );
  assert.deepEqual(JSON.parse(rows[0]?.json ?? ''), verdict);
  assert.deepEqual(await findVerdict(database, verdict.id), verdict);
  assert.equal(await findVerdict(database, 'none'), undefined);
  await assert.rejects(database.write([{ sql: 'DELETE FROM verdict_log' }]), /append-only/);
  await assert.rejects(database.write([{ sql: "UPDATE verdict_log SET outcome = 'admit'" }]), /append-only/);
});
