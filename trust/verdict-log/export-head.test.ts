import assert from 'node:assert/strict';
import { copyFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { openDatabaseLog } from './database-source.ts';
import { exportHead } from './export-head.ts';
import type { ExportedHead } from './export-head.ts';
import { openKit } from './log.fixture.ts';
import { verifyLog } from './verify.ts';
import type { LogVerification } from './verify.ts';

const now = new Date('2026-11-20T12:00:00Z');

async function exported(path: string, keyFile: string): Promise<ExportedHead> {
  const log = openDatabaseLog(path);
  try {
    return await exportHead(log, keyFile, now);
  } finally {
    log.close();
  }
}

function verified(path: string, head: string): LogVerification {
  const log = openDatabaseLog(path);
  try {
    return verifyLog(log, { heads: [head] });
  } finally {
    log.close();
  }
}

function cut(path: string, from: number): void {
  const database = new DatabaseSync(path);
  database.exec('DROP TRIGGER IF EXISTS verdict_log_no_delete');
  for (const { name } of database.prepare("SELECT name FROM sqlite_master WHERE type = 'trigger'").all())
    database.exec(`DROP TRIGGER ${String(name)}`);
  database.exec(
    `DELETE FROM verdict_log WHERE seq >= ${from}; DELETE FROM verdict_text WHERE id NOT IN (SELECT id FROM verdict_log)`,
  );
  database.close();
}

test('an exported head covers every row, including rows after the last checkpoint', async (t) => {
  const kit = await openKit(t);
  await kit.append(3);
  const key = join(kit.folder, 'verdict-log.key');
  const { note, behind } = await exported(kit.path, key);
  assert.equal(behind, 0);
  assert.ok(verified(kit.path, note).ok);
  const copy = join(kit.folder, 'copy.db');
  await kit.log.close();
  await kit.database.close();
  await copyFile(kit.path, copy);
  cut(copy, 4);
  assert.deepEqual(
    verified(copy, note)
      .problems.map(({ code }) => code)
      .filter((code) => code === 'TRUST_LOG_HEAD_WRONG'),
    ['TRUST_LOG_HEAD_WRONG'],
  );
  // When a checkpoint covers everything, it is exported. After a cut, no new checkpoint hides it.
  const last = await exported(kit.path, key);
  assert.ok(verified(kit.path, last.note).ok);
  assert.equal((await exported(copy, key)).note, last.note);
});

test('without the key the latest checkpoint is exported, with the number of rows after it; rows that are not a chain have no head', async (t) => {
  const kit = await openKit(t);
  await kit.log.checkpoint();
  await kit.append(2);
  const { behind } = await exported(kit.path, join(kit.folder, 'nowhere.key'));
  assert.equal(behind, 2);
  const database = new DatabaseSync(kit.path);
  database.exec('DROP TRIGGER verdict_log_no_update');
  database.exec(`UPDATE verdict_log SET entry = replace(entry, 'verdict', 'verdicx') WHERE seq = 2`);
  database.close();
  await assert.rejects(exported(kit.path, join(kit.folder, 'verdict-log.key')), {
    code: 'TRUST_LOG_DAMAGED',
  });
  await rm(join(kit.folder, 'verdict-log.key'));
});
