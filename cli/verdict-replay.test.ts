import assert from 'node:assert/strict';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { portcullis } from '../test/fixtures/command.ts';
import { now } from '../trust/evidence/fixtures/fixture-image.ts';
import { dossierOf, dropOldTexts, openKit, policy as logPolicy } from '../trust/verdict-log/log.fixture.ts';
import { openDatabaseLog } from '../trust/verdict-log/index.ts';
import type { LogSource } from '../trust/verdict-log/index.ts';
import type { Verdict } from '../trust/index.ts';
import { replay } from './verdict-replay.ts';

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

test('a replay of all verdicts reads one row at a time: a log may have millions', async (t) => {
  const kit = await openKit(t);
  await kit.append(20);
  const log = openDatabaseLog(kit.path);
  t.after(log.close);
  let read = 0;
  let readAtFirstReplay: number | undefined;
  const source: LogSource = {
    ...log,
    *rows() {
      read = 0;
      for (const row of log.rows()) {
        read += 1;
        yield row;
      }
    },
    text(kind, id) {
      readAtFirstReplay ??= read;
      return log.text(kind, id);
    },
  };
  const written = t.mock.method(process.stdout, 'write', () => true);
  const code = await replay(source, undefined, { root: kit.folder, output: 'json', all: true });
  written.mock.restore();
  assert.equal(code, 0);
  assert.ok(
    (readAtFirstReplay ?? Infinity) < 5,
    `${readAtFirstReplay} rows were read before the first replay`,
  );
});

test('a replay of a file with several verdicts asks which one, or for --all', async (t) => {
  const kit = await openKit(t);
  await kit.append(2);
  const file = `${kit.path}.jsonl`;
  await portcullis(['verdicts', 'export', '--database', kit.path, '--out', file]);
  const { code, output } = await portcullis(['verdicts', 'replay', '--file', file]);
  assert.match(output, /more than one verdict; name a verdict, or use --all \[TRUST_VERDICT_AMBIGUOUS\]/u);
  assert.equal(code, 4);
});

test('the number of a row that is no verdict is refused with this reason', async (t) => {
  const kit = await openKit(t);
  await kit.append(1);
  const { code, output } = await portcullis(['verdicts', 'replay', '1', '--database', kit.path]);
  assert.match(output, /no row with this number is a verdict.*\[TRUST_VERDICT_UNKNOWN\]/u);
  assert.equal(code, 4);
});

test('a verdict whose reasons another version has worded differently is distinguished from a different one', async (t) => {
  const kit = await openKit(t);
  const [verdict] = await kit.append(1);
  assert.ok(verdict !== undefined);
  const record = (changed: Partial<Verdict>): Promise<unknown> =>
    kit.database.write(
      kit.log.statements({ ...verdict, ...changed }, dossierOf(verdict.reference), logPolicy),
    );
  const { reasons } = verdict;
  const children = reasons.children?.map((child) => ({ ...child, text: 'Other words.' }));
  const reworded = `sha256:${'1'.repeat(64)}`;
  await record({
    id: reworded,
    reasons: { ...reasons, text: 'Other words.', ...(children && { children }) },
  });
  const single = await portcullis(['verdicts', 'replay', reworded, '--database', kit.path]);
  assert.match(single.output, /^the same decision in other words: recorded deny as sha256:1111/u);
  assert.equal(single.code, 1);
  await record({ id: `sha256:${'2'.repeat(64)}`, reasons: { ...reasons, code: 'TRUST_OTHER' } });
  const { code, output } = await replayAll(kit.path);
  assert.match(
    output,
    /^different: sha256:2{64}\n1 identical, 1 with the same decision in other words, 1 different, 0 cannot/u,
  );
  assert.equal(code, 1);
});
