import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, copyFile, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import fc from 'fast-check';
import { fuzzing } from '../evidence/fixtures/fuzzing.ts';
import { openDatabase } from '../../base/storage/index.ts';
import { amd64, now } from '../evidence/fixtures/fixture-image.ts';
import { decide } from '../verdict/decide.ts';
import { appendStatement, findVerdict } from './append.ts';
import { openDatabaseLog } from './database-source.ts';
import { findVerdicts } from './find.ts';
import { exportLog, readExport } from './export-file.ts';
import { openVerdictLog } from './keeper.ts';
import { dossierOf, logOptions, migrations, openKit, policy, temporaryFolder } from './log.fixture.ts';
import { replayVerdict } from './replay.ts';
import { verdictLogMigrations } from './schema.ts';
import { parseNoteKey } from './signed-note.ts';
import { verifyLog } from './verify.ts';
import type { LogVerification, VerifyLogOptions } from './verify.ts';

function verify(path: string, options?: VerifyLogOptions): LogVerification {
  const log = openDatabaseLog(path);
  try {
    return verifyLog(log, options);
  } finally {
    log.close();
  }
}

function headOf(path: string): string {
  const log = openDatabaseLog(path);
  const last = [...log.checkpoints()].at(-1);
  log.close();
  return last?.note ?? '';
}

/** Makes a change like a user with access to the file: no trigger prevents it. */
function tamper(path: string, ...statements: readonly string[]): void {
  const db = new DatabaseSync(path);
  for (const name of [
    'verdict_log_no_update',
    'verdict_log_no_delete',
    'verdict_checkpoint_no_update',
    'verdict_checkpoint_no_delete',
  ])
    db.exec(`DROP TRIGGER IF EXISTS ${name}`);
  for (const sql of statements) db.exec(sql);
  db.close();
}

test('a log is a chain from its first row, with checkpoints by the key that it names', async (t) => {
  const kit = await openKit(t);
  const verdicts = await kit.append(5);
  await kit.log.checkpoint();
  const result = verify(kit.path);
  assert.deepEqual(result.problems, []);
  assert.equal(result.rows, 6);
  assert.equal(result.unsigned, 0);
  assert.equal((await stat(join(kit.folder, 'verdict-log.key'))).mode & 0o777, 0o600);
  const key = parseNoteKey(await readFile(join(kit.folder, 'verdict-log.key.pub'), 'utf8'));
  assert.ok(key);
  assert.ok(verify(kit.path, { keys: [key], heads: [headOf(kit.path)] }).ok);
  const first = verdicts[0];
  assert.ok(first);
  assert.deepEqual(await findVerdict(kit.database, first.id), first);
  assert.equal(await findVerdict(kit.database, 'none'), undefined);
  await assert.rejects(kit.database.write([{ sql: 'DELETE FROM verdict_log' }]), /append-only/);
  await assert.rejects(kit.database.write([{ sql: "UPDATE verdict_log SET entry = '{}'" }]), /append-only/);
  await assert.rejects(kit.database.write([{ sql: 'DELETE FROM verdict_checkpoint' }]), /append-only/);
});

test('simultaneous rows have different positions, and a failed transaction leaves no row', async (t) => {
  const kit = await openKit(t);
  const dossier = dossierOf('docker.io/library/a:1');
  const verdict = decide({
    dossier,
    reference: 'docker.io/library/a:1',
    namespace: 'x',
    platform: amd64,
    policy,
    now,
  });
  const results = await Promise.allSettled(
    Array.from({ length: 40 }, (_, index) => {
      const fails =
        index % 4 === 3
          ? [{ sql: 'DELETE FROM dossier WHERE id = ?', params: ['none'], expectChanges: 1 }]
          : [];
      return kit.database.write([...kit.log.statements(verdict, dossier, policy), ...fails]);
    }),
  );
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 30);
  const result = verify(kit.path);
  assert.deepEqual([result.problems, result.rows], [[], 31]);
});

test('each change of the stored log is detected', async (t) => {
  const kit = await openKit(t);
  await kit.append(8);
  await kit.log.checkpoint();
  const head = headOf(kit.path);
  await kit.append(2);
  await kit.database.close();
  const cases: readonly (readonly [string, string, string])[] = [
    [
      'a byte of a row',
      `UPDATE verdict_log SET entry = replace(entry, 'team-1', 'team-9') WHERE seq = 2`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
    [
      'an outcome',
      `UPDATE verdict_log SET entry = replace(entry, '"deny"', '"admit"') WHERE seq = 2`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
    [
      'an id',
      `UPDATE verdict_log SET entry = json_set(entry, '$.verdict', 'sha256:0') WHERE seq = 4`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
    [
      'a hash',
      `UPDATE verdict_log SET hash = replace(hash, substr(hash, 1, 1), 'x') WHERE seq = 3`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
    ['evidence', `UPDATE verdict_log SET evidence = '' WHERE seq = 3`, 'TRUST_LOG_CHAIN_BROKEN'],
    [
      'the order',
      `UPDATE verdict_log SET seq = CASE seq WHEN 3 THEN -4 WHEN 4 THEN -3 END WHERE seq IN (3, 4); UPDATE verdict_log SET seq = -seq WHERE seq < 0`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
    ['a row taken out', 'DELETE FROM verdict_log WHERE seq = 5', 'TRUST_LOG_ROW_MISSING'],
    ['the first rows taken out', 'DELETE FROM verdict_log WHERE seq < 4', 'TRUST_LOG_ROW_MISSING'],
    [
      'the end cut off',
      'DELETE FROM verdict_log WHERE seq > 8; DELETE FROM verdict_checkpoint WHERE size > 8',
      'TRUST_LOG_HEAD_WRONG',
    ],
    ['all rows', 'DELETE FROM verdict_log; DELETE FROM verdict_checkpoint', 'TRUST_LOG_HEAD_WRONG'],
    [
      'the text of a verdict',
      `UPDATE verdict_text SET json = replace(json, 'is denied', 'is denied ') WHERE id = (SELECT id FROM verdict_log WHERE seq = 2)`,
      'TRUST_LOG_TEXT_ALTERED',
    ],
    ['a dossier', `UPDATE dossier SET json = replace(json, '2026', '2025')`, 'TRUST_LOG_TEXT_ALTERED'],
    ['a policy', `UPDATE policy_text SET json = replace(json, 'deny', 'Deny')`, 'TRUST_LOG_TEXT_ALTERED'],
    [
      'a missing verdict',
      `DELETE FROM verdict_text WHERE id = (SELECT id FROM verdict_log WHERE seq = 3)`,
      'TRUST_LOG_TEXT_MISSING',
    ],
    ['a missing policy', `DELETE FROM policy_text`, 'TRUST_LOG_TEXT_MISSING'],
    [
      'a missing dossier',
      `DELETE FROM dossier WHERE id = (SELECT dossier FROM verdict_log WHERE seq = 3)`,
      'TRUST_LOG_TEXT_MISSING',
    ],
    [
      'a verdict without a row',
      `INSERT INTO verdict_text VALUES ('sha256:1', '{}')`,
      'TRUST_LOG_VERDICT_UNLOGGED',
    ],
    [
      'a checkpoint',
      `UPDATE verdict_checkpoint SET note = replace(note, 'time 2026', 'time 2025')`,
      'TRUST_LOG_CHECKPOINT_WRONG',
    ],
    [
      'bytes that are not text',
      `UPDATE verdict_log SET entry = CAST(replace(CAST(entry AS BLOB), 'team', x'ff') AS TEXT) WHERE seq = 3`,
      'TRUST_LOG_CHAIN_BROKEN',
    ],
  ];
  assert.ok(verify(kit.path, { heads: [head] }).ok);
  for (const [name, sql, code] of cases) {
    const copy = join(kit.folder, 'copy.db');
    await copyFile(kit.path, copy);
    tamper(copy, sql);
    const { ok, problems } = verify(copy, { heads: [head] });
    assert.equal(ok, false, name);
    assert.ok(
      problems.some((problem) => problem.code === code),
      `${name}: ${JSON.stringify(problems)}`,
    );
  }
});

test('a log that was rewritten completely does not have the exported head', async (t) => {
  const [kit, other] = [await openKit(t), await openKit(t)];
  await kit.append(3);
  await kit.log.checkpoint();
  await other.append(4);
  await other.log.checkpoint();
  const key = parseNoteKey(await readFile(join(kit.folder, 'verdict-log.key.pub'), 'utf8'));
  assert.ok(key);
  const result = verify(other.path, { heads: [headOf(kit.path)], keys: [key] });
  assert.deepEqual([...new Set(result.problems.map(({ code }) => code))].sort(), [
    'TRUST_LOG_CHECKPOINT_WRONG',
    'TRUST_LOG_HEAD_WRONG',
  ]);
  // A log's own key vouches only for its own checkpoints.
  assert.equal(verify(other.path).ok, true);
  for (const note of [
    '',
    'x',
    headOf(kit.path).replace('\n4\n', '\n3\n'),
    headOf(kit.path).replace('— ', '- '),
  ]) {
    const { problems } = verify(kit.path, { heads: [note] });
    assert.equal(problems[0]?.code, 'TRUST_LOG_HEAD_WRONG', JSON.stringify(note));
  }
});

test('one flipped byte of an exported log is found, wherever it is', async (t) => {
  const kit = await openKit(t);
  await kit.append(3);
  await kit.log.checkpoint();
  const log = openDatabaseLog(kit.path);
  const text = [...exportLog(log)].join('');
  log.close();
  assert.deepEqual(verifyLog(readExport('x', text)).problems, []);
  const bytes = Buffer.from(text);
  const clean = JSON.stringify(contentOf(text));
  fc.assert(
    fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 0, max: 7 }), (place, bit) => {
      const changed = Buffer.from(bytes);
      changed[place] = (changed[place] ?? 0) ^ (1 << bit);
      const now = changed.toString('utf8');
      try {
        // JSON escapes and blanks can be written in different ways: the content is then the same.
        if (JSON.stringify(contentOf(now)) === clean) return;
        assert.equal(verifyLog(readExport('x', now), { heads: [headOf(kit.path)] }).ok, false);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'TRUST_LOG_EXPORT_UNREADABLE');
      }
    }),
    fuzzing(5, 600),
  );
});

test('an empty file is not an intact exported log', () => {
  assert.throws(() => readExport('x', ''), { code: 'TRUST_LOG_EXPORT_UNREADABLE', message: /it is empty/u });
});

function contentOf(text: string): unknown {
  const source = readExport('x', text);
  const rows = [...source.rows()];
  return [
    rows,
    [...source.checkpoints()],
    [...source.verdictIds()].map((id) => [id, source.text('verdict', id)]),
  ];
}

test('damage of the database file is reported without a crash, and never as an intact log', async (t) => {
  const kit = await openKit(t);
  await kit.append(30);
  await kit.log.close();
  const head = headOf(kit.path);
  await kit.database.close();
  const bytes = await readFile(kit.path);
  const copy = join(kit.folder, 'copy.db');
  const clean = contentOfDatabase(kit.path);
  const random = fc.sample(
    fc.tuple(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 })),
    fuzzing(7, 150),
  );
  for (const [place, mask] of random) {
    const changed = Buffer.from(bytes);
    changed[place] = (changed[place] ?? 0) ^ mask;
    await writeFile(copy, changed);
    try {
      const { ok } = verify(copy, { heads: [head] });
      // Free space and similar bytes are not part of the log.
      if (ok) assert.equal(contentOfDatabase(copy), clean, `byte ${place}`);
    } catch (error) {
      assert.match(
        (error as { code?: string }).code ?? String(error),
        /^(STORAGE|TRUST)_/,
        `byte ${place}: ${String(error)}`,
      );
    }
  }
  for (const cut of [0, 1, 100, 4096, bytes.length - 4096]) {
    await writeFile(copy, bytes.subarray(0, cut));
    try {
      assert.equal(verify(copy, { heads: [head] }).ok, false);
    } catch (error) {
      assert.match((error as { code?: string }).code ?? String(error), /^(STORAGE|TRUST)_/);
    }
  }
});

function contentOfDatabase(path: string): string {
  const log = openDatabaseLog(path);
  try {
    return [...exportLog(log)].join('');
  } finally {
    log.close();
  }
}

test('rows of versions without a chain become its first part', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'state.db');
  const old = new DatabaseSync(path);
  old.exec(
    `${verdictLogMigrations[0]}; CREATE TABLE dossier (id TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT; PRAGMA user_version = 1; BEGIN`,
  );
  const insert = old.prepare(
    'INSERT INTO verdict_log (id, outcome, reference, digest, namespace, decided_at, json) VALUES (?, ?, ?, ?, ?, ?, ?)',
  );
  for (let index = 0; index < 450; index += 1) {
    const reference = `ghcr.io/team/old-${index}:1`;
    const verdict = decide({
      dossier: dossierOf(reference),
      reference,
      namespace: 'old',
      platform: amd64,
      policy,
      now,
    });
    const json = JSON.stringify(index === 7 ? { ...verdict, outcome: 'admit' } : verdict);
    insert.run(
      verdict.id,
      verdict.outcome,
      verdict.reference,
      verdict.digest,
      verdict.namespace,
      verdict.decidedAt,
      index === 9 ? 'broken' : json,
    );
  }
  old.exec('COMMIT');
  old.close();
  const database = await openDatabase({ path, migrations });
  t.after(() => database.close());
  const log = await openVerdictLog(logOptions(folder, database));
  await log.close();
  const result = verify(path);
  assert.equal(result.rows, 451);
  // Rows that were altered before are reported, not repaired.
  assert.deepEqual(
    [...new Set(result.problems.map(({ code, seq }) => `${code} ${seq}`))],
    ['TRUST_LOG_TEXT_ALTERED 8', 'TRUST_LOG_TEXT_ALTERED 10'],
  );
  const again = await openVerdictLog(logOptions(folder, database));
  await again.close();
  assert.equal(verify(path).rows, 451, 'the same key is named once');
});

test('retention drops texts, says so in the log, and the chain still verifies', async (t) => {
  const kit = await openKit(t);
  const old = await kit.append(4, new Date('2025-01-01T00:00:00Z'));
  await kit.log.close();
  const later = { ...logOptions(kit.folder, kit.database), retentionDays: 30 };
  const { dropOldTexts } = await import('./retention.ts');
  const kept = old[1];
  assert.ok(kept);
  const input = {
    days: 30,
    now: new Date(now.getTime() + 40 * 86_400_000),
    verdictsInUse: [kept.id],
    dossiersInUse: later.dossiersInUse,
  };
  assert.equal(await dropOldTexts(kit.database, input), 3);
  assert.equal(await dropOldTexts(kit.database, input), 0, 'nothing more: no row');
  const [fresh] = await kit.append(1);
  const result = verify(kit.path);
  assert.deepEqual([result.problems, result.dropped, result.rows], [[], 3, 7]);
  assert.deepEqual(await findVerdict(kit.database, kept.id), kept);
  assert.equal(await findVerdict(kit.database, old[0]?.id ?? ''), undefined);
  // A retention row in the log excuses older rows only.
  tamper(kit.path, `DELETE FROM verdict_text WHERE id = '${fresh?.id ?? ''}'`);
  assert.deepEqual(
    verify(kit.path).problems.map(({ code }) => code),
    ['TRUST_LOG_TEXT_MISSING'],
  );
});

test('retention drops texts although the evidence of a verdict in use is damaged', async (t) => {
  const kit = await openKit(t);
  const [kept] = await kit.append(3);
  assert.ok(kept);
  tamper(
    kit.path,
    `UPDATE dossier SET json = substr(json, 1, 20) WHERE id = '${kept.dossierId}'`,
    "INSERT INTO evidence_part VALUES ('sha256:00', 'AA==')",
  );
  const { dropOldTexts } = await import('./retention.ts');
  const { dossiersInUse } = logOptions(kit.folder, kit.database);
  const later = new Date(now.getTime() + 40 * 86_400_000);
  const input = { days: 30, now: later, verdictsInUse: [kept.id], dossiersInUse };
  assert.equal(await dropOldTexts(kit.database, input), 2);
});

test('a row of a later kind is chained, counted and not judged; one without the form of a row is a problem', async (t) => {
  const kit = await openKit(t);
  const time = now.toISOString();
  await kit.database.write([appendStatement({ kind: 'later-kind', more: [1], time } as never)]);
  const { ok, unknown, problems } = verify(kit.path);
  assert.deepEqual([ok, unknown, problems], [true, 1, []]);
  await kit.database.write([appendStatement({ kind: 'Later', time } as never)]);
  await kit.database.write([appendStatement({ kind: 'timeless' } as never)]);
  assert.deepEqual(
    verify(kit.path).problems.map(({ code }) => code),
    ['TRUST_LOG_ENTRY_MALFORMED', 'TRUST_LOG_ENTRY_MALFORMED'],
  );
});

test('texts are only dropped once the verdicts in use are known, also if a start takes long', async (t) => {
  const kit = await openKit(t);
  let asked = 0;
  const verdictsInUse = (): readonly string[] => {
    asked += 1;
    return [];
  };
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const log = await openVerdictLog({ ...logOptions(kit.folder, kit.database), verdictsInUse });
  t.mock.timers.tick(600_000);
  assert.equal(asked, 0);
  log.beginRetention();
  t.mock.timers.tick(60_000);
  assert.equal(asked, 1);
  await log.close();
});

test('a retention row that names later rows is refused by verification', async (t) => {
  const kit = await openKit(t);
  await kit.database.write([
    appendStatement({ kind: 'retention', time: now.toISOString(), through: 99, days: 1 }),
  ]);
  assert.deepEqual(
    verify(kit.path).problems.map(({ code }) => code),
    ['TRUST_LOG_ENTRY_MALFORMED'],
  );
});

test('every verdict replays to the same bytes from what is stored', async (t) => {
  const kit = await openKit(t);
  await kit.append(6);
  const log = openDatabaseLog(kit.path);
  t.after(log.close);
  const found = findVerdicts(log, {});
  assert.equal(found.length, 6);
  for (const { entry } of found) {
    const texts = {
      verdict: log.text('verdict', entry.verdict) ?? '',
      dossier: log.text('dossier', entry.dossier) ?? '',
      policy: log.text('policy', entry.policy) ?? '',
    };
    const replay = await replayVerdict({ id: entry.verdict, decidedAt: entry.decidedAt, ...texts });
    assert.ok(replay.equal);
    const forged = await replayVerdict({
      id: entry.verdict,
      decidedAt: entry.decidedAt,
      ...texts,
      verdict: texts.verdict.replace('"outcome":"deny"', '"outcome":"admit"'),
    });
    assert.equal(forged.equal, entry.outcome === 'admit');
    for (const name of ['verdict', 'dossier', 'policy'] as const) {
      for (const text of ['', '{}', '[]', 'null', '{"items":3}', '{"rules":[null]}', '"x"']) {
        const input = { id: entry.verdict, decidedAt: entry.decidedAt, ...texts, [name]: text };
        const answer = await replayVerdict(input).catch((error: unknown) => error as { code: string });
        if ('code' in answer) assert.equal(answer.code, 'TRUST_REPLAY_UNREADABLE');
        else assert.equal(answer.equal, false);
      }
    }
  }
  assert.deepEqual(
    findVerdicts(log, { namespace: 'team-1' }, 1).map(({ row }) => row.seq),
    [5],
  );
  assert.equal(findVerdicts(log, { image: 'docker.io' }).length, 3);
  assert.equal(findVerdicts(log, { outcome: 'deny' }).length, 3);
  assert.equal(findVerdicts(log, { since: '2027' }).length, 0);
  assert.equal(findVerdicts(log, { id: found[0]?.entry.verdict.slice(7, 20) ?? '' }).length, 1);
});

test('a key that other users can read, or that is malformed, is refused; a lost key is replaced and the log says so', async (t) => {
  const kit = await openKit(t);
  await kit.append(1);
  await kit.log.close();
  const file = join(kit.folder, 'verdict-log.key');
  await chmod(file, 0o644);
  await assert.rejects(openVerdictLog(logOptions(kit.folder, kit.database)), {
    code: 'TRUST_LOG_KEY_UNREADABLE',
  });
  await writeFile(file, 'rubbish');
  await chmod(file, 0o600);
  await assert.rejects(openVerdictLog(logOptions(kit.folder, kit.database)), {
    code: 'TRUST_LOG_KEY_UNREADABLE',
  });
  const other = await openVerdictLog({
    ...logOptions(kit.folder, kit.database),
    keyFile: join(kit.folder, 'other.key'),
  });
  await other.close();
  const result = verify(kit.path);
  assert.deepEqual([result.problems, result.keys.length, result.checkpoints], [[], 2, 3]);
});

test('a log whose end was cut off is reported at the next start, and signed again from there', async (t) => {
  const kit = await openKit(t);
  await kit.append(6);
  await kit.log.close();
  tamper(kit.path, 'DELETE FROM verdict_log WHERE seq > 3');
  const reported: string[] = [];
  const onFailure = (_what: string, error: unknown): void =>
    void reported.push((error as { code: string }).code);
  const log = await openVerdictLog({ ...logOptions(kit.folder, kit.database), onFailure });
  await log.close();
  assert.deepEqual(reported, ['TRUST_LOG_CUT_OFF']);
  const result = verify(kit.path);
  assert.ok(result.problems.some(({ code }) => code === 'TRUST_LOG_CHECKPOINT_WRONG'));
  assert.equal(result.checkpoints, 3);
});

/** Appends and signs as fast as it can, until it is killed. */
const writer = `
import { openDatabase } from '${import.meta.resolve('../../base/storage/index.ts')}';
import { verdictLogMigrations } from '${import.meta.resolve('./schema.ts')}';
import { appendStatement } from '${import.meta.resolve('./append.ts')}';
import { openVerdictLog } from '${import.meta.resolve('./keeper.ts')}';
const [path, keyFile] = process.argv.slice(1);
const database = await openDatabase({ path, migrations: verdictLogMigrations.map((sql, index) => ({ version: index + 1, sql })) });
const log = await openVerdictLog({ database, keyFile, retentionDays: 0, verdictsInUse: () => [], dossiersInUse: "SELECT ''", onFailure: () => {} });
process.stdout.write('ready');
for (;;) {
  await Promise.all(Array.from({ length: 5 }, () => database.write([appendStatement({ kind: 'retention', time: new Date().toISOString(), through: 0, days: 1 })])));
  void log.checkpoint();
}`;

test('a writer that is killed with SIGKILL at any moment leaves an intact log', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'state.db');
  let rows = 0;
  for (const patience of [5, 20, 45, 80]) {
    const child = spawn(
      process.execPath,
      ['--input-type=module', '--eval', writer, path, join(folder, 'key')],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    await once(child.stdout, 'data');
    await pause(patience);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const result = verify(path);
    assert.deepEqual(result.problems, []);
    assert.ok(result.rows > rows);
    rows = result.rows;
  }
});

test('changes by plugins are a row of the chain, and not a verdict', async (t) => {
  const kit = await openKit(t);
  const [verdict] = await kit.append(1);
  assert.ok(verdict);
  const changes = JSON.stringify([{ plugin: '10-p', field: 'mount', key: '/x', action: 'set' }]);
  await kit.log.adjusted({ verdict: verdict.id, container: 'c1', changes });
  await kit.log.checkpoint();
  assert.deepEqual(verify(kit.path).problems, []);
  assert.equal((await findVerdict(kit.database, verdict.id))?.decidedAt, verdict.decidedAt);
  const row = await kit.database.get<{ entry: string }>(
    'SELECT entry FROM verdict_log ORDER BY seq DESC LIMIT 1',
  );
  assert.match(row?.entry ?? '', /"container":"c1".*"kind":"adjustment"/);
});
