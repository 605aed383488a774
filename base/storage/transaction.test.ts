import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { openFile } from './open-file.ts';
import { keepRoom } from './room.ts';
import { createConnection } from './transaction.ts';

const [NORMAL, FULL] = [1, 2];

it('waits for the disk only if a call of the round needs it', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-transaction-'));
  const path = join(folder, 'state.db');
  const db = openFile({
    path,
    migrations: [{ version: 1, sql: 'CREATE TABLE item (id INTEGER) STRICT' }],
    busyTimeoutMs: 1000,
  });
  try {
    const connection = createConnection(db, path);
    const level = (): unknown => connection.read('PRAGMA synchronous', [], true)[0]?.['synchronous'];
    const insert = [[{ sql: 'INSERT INTO item VALUES (1)' }]];
    assert.equal(level(), FULL);
    for (const [outlives, expected] of [
      ['process', NORMAL],
      ['process', NORMAL],
      ['power-loss', FULL],
      ['process', NORMAL],
      [undefined, FULL],
    ] as const) {
      connection.commitGroup(insert, outlives);
      assert.equal(level(), expected);
    }
    assert.deepEqual(connection.read('SELECT count(*) AS n FROM item', [], true), [{ n: 5 }]);
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

it('adds space for every form of statement that needs more than is free', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-transaction-'));
  const path = join(folder, 'state.db');
  const db = openFile({
    path,
    migrations: [{ version: 1, sql: 'CREATE TABLE item (id TEXT PRIMARY KEY, name TEXT) STRICT' }],
    busyTimeoutMs: 1000,
  });
  try {
    const connection = createConnection(db, path, () => false, keepRoom(db, path, 64 * 1024));
    const name = 'x'.repeat(1024 * 1024);
    const forms = [
      'INSERT INTO item VALUES (?, ?)',
      'INSERT INTO item VALUES (?, ?) ON CONFLICT DO NOTHING',
      'INSERT INTO item VALUES (?, ?) RETURNING id',
      'INSERT INTO item SELECT ?, ?',
    ];
    for (const [index, sql] of forms.entries()) {
      const [outcome] = connection.commitGroup([[{ sql, params: [`item ${index}`, name] }]]);
      assert.ok(outcome !== undefined && 'results' in outcome, `${sql}: ${JSON.stringify(outcome)}`);
    }
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
