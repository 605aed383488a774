import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { keepRoom } from './room.ts';

test('a log whose size cannot be read counts as low, and nothing is thrown', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-room-'));
  const path = join(folder, 'state.db');
  const db = new DatabaseSync(path);
  try {
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE rows (id INTEGER)');
    // The first call of isLow looks at the length of the log.
    const room = keepRoom(db, path, 64 * 1024);
    room.grow();
    rmSync(`${path}-wal`);
    symlinkSync(`${path}-wal`, `${path}-wal`);
    assert.equal(room.isLow(), true);
    assert.equal(room.grow(), false);
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a log that cannot be moved into the file is not reused, and nothing is thrown', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-room-'));
  const path = join(folder, 'state.db');
  const db = new DatabaseSync(path);
  try {
    db.exec('PRAGMA journal_mode = WAL; CREATE TABLE rows (id INTEGER)');
    const room = keepRoom(db, path, 64 * 1024);
    assert.equal(room.reuseLog(), true);
    // SQLite refuses a checkpoint within a transaction (SQLITE_LOCKED).
    db.exec('BEGIN IMMEDIATE; INSERT INTO rows VALUES (1)');
    assert.equal(room.reuseLog(), false);
    db.exec('COMMIT');
    assert.equal(room.reuseLog(), true);
  } finally {
    db.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
