import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { openDatabase } from './index.ts';
import type { Migration, Statement } from './index.ts';

const migrations: readonly Migration[] = [
  {
    version: 1,
    sql: 'CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, size INTEGER, bytes BLOB) STRICT',
  },
  {
    version: 2,
    sql: 'CREATE TABLE part (item INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE, n INTEGER) STRICT',
  },
];
const insert = (name: string, size: number | bigint = 0): Statement => ({
  sql: 'INSERT INTO item (name, size) VALUES (?, ?)',
  params: [name, size],
});

let folder: string;
let count = 0;
const newPath = (): string => join(folder, `db${++count}`, 'state.db');
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-storage-'));
});
after(() => rmSync(folder, { recursive: true, force: true }));

describe('a database', () => {
  it('keeps what was written, in a file and folder that only its owner may read', async () => {
    const path = newPath();
    const first = await openDatabase({ path, migrations });
    await first.write([insert('a', 7)]);
    assert.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
    for (const suffix of ['', '-wal', '-shm'])
      assert.equal(statSync(`${path}${suffix}`).mode & 0o777, 0o600, suffix);
    await first.close();
    const second = await openDatabase({ path, migrations });
    assert.deepEqual(await second.all('SELECT name, size FROM item'), [{ name: 'a', size: 7 }]);
    await second.close();
  });

  it('reads integers as numbers, and as bigint only where a number would lose digits; blobs as bytes', async () => {
    const db = await openDatabase({ path: newPath(), migrations });
    const sizes = [
      0,
      -1,
      Number.MAX_SAFE_INTEGER,
      Number.MIN_SAFE_INTEGER,
      2n ** 53n,
      2n ** 63n - 1n,
      -(2n ** 63n),
    ];
    await db.write(sizes.map((size, index) => insert(`n${index}`, size)));
    assert.deepEqual(
      (await db.all<{ size: number | bigint }>('SELECT size FROM item ORDER BY id')).map((row) => row.size),
      sizes,
    );
    const bytes = new Uint8Array([0, 255, 7]);
    const [result] = await db.write([
      { sql: 'INSERT INTO item (name, bytes) VALUES (?, ?) RETURNING bytes, name', params: ['b', bytes] },
    ]);
    assert.deepEqual(result, { changes: 1, rows: [{ bytes, name: 'b' }] });
    assert.equal(await db.get('SELECT 1 AS one WHERE 0'), undefined);
    await db.close();
  });

  it('counts the rows that a statement changed itself', async () => {
    const db = await openDatabase({ path: newPath(), migrations });
    const results = await db.write([
      { sql: "INSERT INTO item (id, name) VALUES (1, 'a'), (2, 'b')" },
      { sql: 'INSERT INTO part (item, n) VALUES (1, 1), (1, 2)' },
      { sql: 'SELECT count(*) AS n FROM item' },
      { sql: 'DELETE FROM item WHERE id = 1 RETURNING name' },
      { sql: 'UPDATE item SET size = 1 WHERE id = 99' },
    ]);
    assert.deepEqual(
      results.map((result) => result.changes),
      [2, 2, 0, 1, 0],
    );
    assert.deepEqual(results[2]?.rows, [{ n: 2 }]);
    assert.deepEqual(results[3]?.rows, [{ name: 'a' }]);
    assert.deepEqual(await db.all('SELECT * FROM part'), [], 'foreign keys are enforced');
    await db.close();
  });

  it('commits the calls of one turn together, and rolls back only a call that fails', async () => {
    const db = await openDatabase({ path: newPath(), migrations });
    const [first, second, third, fourth] = await Promise.allSettled([
      db.write([insert('a')]),
      db.write([insert('b'), insert('a')]),
      db.write([
        insert('c'),
        { sql: 'UPDATE item SET size = 1 WHERE name = ?', params: ['nobody'], expectChanges: 1 },
      ]),
      db.write([insert('d')]),
    ]);
    assert.equal(first.status, 'fulfilled');
    assert.equal(fourth.status, 'fulfilled');
    assert.ok(second.status === 'rejected' && third.status === 'rejected');
    assert.partialDeepStrictEqual(
      { ...second.reason },
      { code: 'STORAGE_CONSTRAINT', kind: 'already-exists' },
    );
    assert.partialDeepStrictEqual(
      { ...third.reason },
      {
        code: 'STORAGE_CONFLICT',
        kind: 'precondition',
        failure: { details: { expected: 1, changed: 0 } },
      },
    );
    assert.deepEqual(await db.all('SELECT name FROM item ORDER BY id'), [{ name: 'a' }, { name: 'd' }]);
    await db.close();
  });

  it('lets a read see every earlier write, and close waits for both', async () => {
    const db = await openDatabase({ path: newPath(), migrations });
    const writes = Array.from({ length: 50 }, (_, index) => db.write([insert(`w${index}`)]));
    const read = db.get('SELECT count(*) AS n FROM item');
    const closed = db.close();
    assert.deepEqual(await read, { n: 50 });
    await Promise.all(writes);
    await closed;
    await closed;
    await assert.rejects(db.get('SELECT 1'), { code: 'STORAGE_CLOSED' });
    await db.close();
  });

  it('reports a defective statement, and the other calls succeed', async () => {
    const db = await openDatabase({ path: newPath(), migrations });
    const [bad, good] = await Promise.allSettled([
      db.write([{ sql: 'INSERT INTO nowhere VALUES (1)' }]),
      db.write([insert('a')]),
    ]);
    assert.ok(bad.status === 'rejected' && good.status === 'fulfilled');
    assert.partialDeepStrictEqual({ ...bad.reason }, { code: 'STORAGE_BAD_STATEMENT', kind: 'internal' });
    await assert.rejects(db.all('SELEKT'), { code: 'STORAGE_BAD_STATEMENT' });
    await assert.rejects(db.write([{ sql: 'SELECT ?', params: [(() => 1) as unknown as string] }]), {
      code: 'STORAGE_WRITER_LOST',
    });
    assert.deepEqual(await db.get('SELECT count(*) AS n FROM item'), { n: 1 });
    await db.close();
  });

  it('lets the process end while it is open and idle', async () => {
    const program = `
      import { openDatabase } from ${JSON.stringify(import.meta.resolve('./index.ts'))};
      const db = await openDatabase({ path: ${JSON.stringify(newPath())}, migrations: ${JSON.stringify(migrations)} });
      await db.write([{ sql: "INSERT INTO item (name) VALUES ('a')" }]);
      process.stdout.write(JSON.stringify(await db.get('SELECT name FROM item')));`;
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module-typescript', '-e', program],
      { timeout: 10_000 },
    );
    assert.equal(stdout, '{"name":"a"}');
  });
});

describe('another process with the same file', () => {
  it('is waited for, and its lock is reported if it remains', async () => {
    const path = newPath();
    const db = await openDatabase({ path, migrations, busyTimeoutMs: 100 });
    const other = new DatabaseSync(path);
    other.exec("BEGIN IMMEDIATE; INSERT INTO item (name) VALUES ('theirs')");
    await assert.rejects(db.write([insert('ours')]), { code: 'STORAGE_BUSY', kind: 'unavailable' });
    other.exec('COMMIT');
    await db.write([insert('ours')]);
    assert.deepEqual(await db.all('SELECT name FROM item ORDER BY id'), [
      { name: 'theirs' },
      { name: 'ours' },
    ]);
    other.close();
    await db.close();
  });

  it('may migrate at the same moment', async () => {
    const path = newPath();
    const opened = await Promise.all([1, 2, 3].map(() => openDatabase({ path, migrations })));
    for (const [index, db] of opened.entries()) await db.write([insert(`from ${index}`)]);
    assert.deepEqual(await opened[0]?.get('SELECT count(*) AS n FROM item'), { n: 3 });
    for (const db of opened) await db.close();
  });
});

describe('migrations', () => {
  it('are applied once and in order, and rows are kept', async () => {
    const path = newPath();
    const old = await openDatabase({ path, migrations: migrations.slice(0, 1) });
    await old.write([insert('kept')]);
    await old.close();
    const now = await openDatabase({ path, migrations });
    assert.deepEqual(await now.all('SELECT name FROM item'), [{ name: 'kept' }]);
    assert.deepEqual(await now.get('PRAGMA user_version'), { user_version: 2 });
    await now.close();
  });

  it('of a newer release are refused, and the file is not changed', async () => {
    const path = newPath();
    await (await openDatabase({ path, migrations })).close();
    await assert.rejects(openDatabase({ path, migrations: migrations.slice(0, 1) }), {
      code: 'STORAGE_NEWER_SCHEMA',
      kind: 'precondition',
      message: /version 2, this program supports 1.*Return to an older version/,
    });
    await (await openDatabase({ path, migrations })).close();
  });

  for (const [what, statement, reason] of [
    [
      'a negative version',
      'PRAGMA user_version = -1',
      /version -1, which no release writes.*nothing was changed/,
    ],
    [
      'the lowest version',
      'PRAGMA user_version = -2147483648',
      /version -2147483648, which no release writes/,
    ],
    [
      'tables and no version',
      'CREATE TABLE theirs (x)',
      /it has tables, but no schema version: another program wrote it/,
    ],
  ] as const)
    it(`are not applied to a file with ${what}, and the file is not changed`, async () => {
      const path = newPath();
      mkdirSync(dirname(path));
      const foreign = new DatabaseSync(path);
      foreign.exec(`CREATE TABLE IF NOT EXISTS item (kept TEXT); ${statement}`);
      foreign.close();
      const bytes = readFileSync(path);
      await assert.rejects(openDatabase({ path, migrations }), {
        code: 'STORAGE_FOREIGN_SCHEMA',
        kind: 'precondition',
        message: reason,
      });
      assert.deepEqual(readFileSync(path), bytes);
      assert.deepEqual(readdirSync(dirname(path)), ['state.db']);
    });

  it('of a newer release are refused without a change of any byte of the file', async () => {
    const path = newPath();
    mkdirSync(dirname(path));
    const newer = new DatabaseSync(path);
    newer.exec('CREATE TABLE later (x); PRAGMA user_version = 99');
    newer.close();
    const bytes = readFileSync(path);
    await assert.rejects(openDatabase({ path, migrations }), { code: 'STORAGE_NEWER_SCHEMA' });
    assert.deepEqual(readFileSync(path), bytes);
  });

  it('that fail leave the previous version', async () => {
    const path = newPath();
    const broken: Migration = { version: 3, sql: 'CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1)' };
    await assert.rejects(openDatabase({ path, migrations: [...migrations, broken] }), {
      code: 'STORAGE_BAD_STATEMENT',
    });
    const db = await openDatabase({ path, migrations });
    assert.deepEqual(await db.get("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'extra'"), { n: 0 });
    await db.close();
  });

  it('must run from 1 without a gap', async () => {
    await assert.rejects(openDatabase({ path: newPath(), migrations: [{ version: 2, sql: '' }] }), {
      code: 'STORAGE_BAD_MIGRATIONS',
    });
  });
});
