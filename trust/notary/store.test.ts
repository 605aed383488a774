import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, test } from 'node:test';
import { digested } from './accept.ts';
import { fileToKeep, openTrustStore } from './store.ts';

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-trust-store-'));
});
after(() => rmSync(folder, { recursive: true }));

const file = (role: string, version: number, text: string): ReturnType<typeof fileToKeep> =>
  fileToKeep(digested({ role, version, bytes: Buffer.from(text) }), 1000 + version);

test('a database with the first schema is migrated: current files, earlier files, and their digests', async () => {
  const old = new DatabaseSync(join(folder, 'trust.db'));
  old.exec(`
    CREATE TABLE files (
      gun TEXT NOT NULL, dialect TEXT NOT NULL, role TEXT NOT NULL, version INTEGER NOT NULL,
      sha256 TEXT NOT NULL, sha512 TEXT NOT NULL, at INTEGER NOT NULL, current INTEGER NOT NULL, data BLOB NOT NULL,
      PRIMARY KEY (gun, dialect, role, version)
    ) STRICT;
    CREATE INDEX files_current ON files (gun, dialect) WHERE current = 1;
    CREATE INDEX files_sha256 ON files (gun, sha256);
    CREATE INDEX files_sha512 ON files (gun, sha512);
    CREATE TABLE withheld (gun TEXT PRIMARY KEY) STRICT;
    CREATE TABLE keys (gun TEXT NOT NULL, role TEXT NOT NULL, at INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
    CREATE INDEX keys_gun ON keys (gun);
    CREATE TABLE changes (
      id INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, gun TEXT NOT NULL,
      version INTEGER NOT NULL, sha256 TEXT NOT NULL, category TEXT NOT NULL
    ) STRICT;
    CREATE INDEX changes_gun ON changes (gun, id);
    PRAGMA user_version = 1;`);
  const insert = old.prepare('INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)');
  for (const [version, current] of [
    [1, 0],
    [2, 1],
  ] as const) {
    const { role, sha256, sha512, at, bytes } = file('targets', version, `version ${version}`);
    insert.run('example.com/app', 'notary', role, version, sha256, sha512, at, current, bytes);
  }
  old.close();

  const store = await openTrustStore(folder);
  try {
    assert.deepEqual(
      (await store.currentFiles('example.com/app', 'notary')).map(({ role, version, bytes }) => [
        role,
        version,
        bytes.toString(),
      ]),
      [['targets', 2, 'version 2']],
    );
    const kept = file('targets', 1, 'version 1');
    for (const hash of [kept.sha256, kept.sha512]) {
      const found = await store.fileByHash('example.com/app', 'notary', 'targets', hash);
      assert.deepEqual([found?.size, (await found?.read())?.version], [kept.bytes.length, 1]);
    }
    const next = [{ dialect: 'notary' as const, files: [file('targets', 3, 'version 3')] }];
    assert.equal(await store.keep('example.com/app', next, { at: 1, withholdTuf: false }), true);
    assert.equal(await store.keep('example.com/app', next, { at: 2, withholdTuf: false }), false);
    assert.deepEqual(
      (await store.currentFiles('example.com/app', 'notary')).map(({ version }) => version),
      [3],
    );
    await store.remove('example.com/app', 3);
    assert.deepEqual(await store.currentFiles('example.com/app', 'notary'), []);
  } finally {
    await store.close();
  }
});
