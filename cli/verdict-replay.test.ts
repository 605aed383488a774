import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { portcullis } from '../test/fixtures/command.ts';
import { now } from '../trust/evidence/fixtures/fixture-image.ts';
import { dropOldTexts, openKit } from '../trust/verdict-log/log.fixture.ts';

const replayAll = (path: string) => portcullis(['verdicts', 'replay', '--all', '--database', path]);

function forget(path: string, id: string | undefined): void {
  const db = new DatabaseSync(path);
  db.prepare('DELETE FROM verdict_text WHERE id = ?').run(id ?? '');
  db.close();
}

test('a verdict whose text was removed from the log makes a replay of all verdicts fail', async (t) => {
  const kit = await openKit(t);
  const [, second] = await kit.append(3);
  assert.equal((await replayAll(kit.path)).code, 0);
  forget(kit.path, second?.id);
  const { code, output } = await replayAll(kit.path);
  assert.match(output, /^2 identical, 0 different, 1 cannot be replayed\n/u);
  assert.equal(code, 4);
});

test('a replay of all verdicts does not fail because of texts that the retention has dropped', async (t) => {
  const kit = await openKit(t);
  await kit.append(2);
  const later = new Date(now.getTime() + 40 * 86_400_000);
  await dropOldTexts(kit.database, { days: 30, now: later, verdictsInUse: [], dossiersInUse: "SELECT ''" });
  const [third] = await kit.append(2);
  const { code, output } = await replayAll(kit.path);
  assert.match(output, /^2 identical, 0 different, 0 cannot be replayed, 2 dropped by the retention\n/u);
  assert.equal(code, 0);
  forget(kit.path, third?.id);
  assert.equal((await replayAll(kit.path)).code, 4);
});
