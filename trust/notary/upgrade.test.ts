import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { makeDatabase, readDump } from '../../test/fixtures/dump-rows.ts';
import { trustMigrations } from './schema.ts';
import { openTrustStore } from './store.ts';

/**
 * The database that the trust service of the previous release wrote: test/fixtures/upgrade. Schema 1 has its
 * own test (store.test.ts).
 */
const dump = readDump(
  readFileSync(join(import.meta.dirname, '../../test/fixtures/upgrade/trust.sql'), 'utf8'),
);

for (const steps of [2, 3])
  test(`a trust database of version ${steps} keeps repositories, keys and changes`, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portcullis-trust-upgrade-'));
    const path = join(folder, 'trust.db');
    makeDatabase(
      path,
      trustMigrations.slice(0, steps).map(({ sql }) => sql),
      [...dump.values()].flat(),
    );
    const raw = new DatabaseSync(path, { readOnly: true });
    const existing = raw.prepare('SELECT gun, dialect, role, version FROM standing').all() as {
      gun: string;
      dialect: 'notary' | 'tuf';
      role: string;
      version: number;
    }[];
    const [count] = raw
      .prepare('SELECT (SELECT count(*) FROM keys) AS keys, (SELECT count(*) FROM changes) AS changes')
      .all();
    raw.close();
    assert.ok(existing.length > 5);
    const store = await openTrustStore(folder);
    try {
      for (const { gun, dialect, role, version } of existing) {
        const file = (await store.currentFiles(gun, dialect)).find((one) => one.role === role);
        assert.equal(file?.version, version, `${gun} ${dialect} ${role}`);
        assert.equal(createHash('sha256').update(file.bytes).digest('hex'), file.sha256);
        const found = await store.fileByHash(gun, dialect, role, file.sha256);
        assert.equal((await found?.read())?.version, version);
      }
      const guns = [...new Set(existing.map(({ gun }) => gun))];
      const keys = (await Promise.all(guns.map((gun) => store.keys(gun)))).flat();
      assert.deepEqual(
        { keys: keys.length, changes: (await store.changes({ most: 1000 })).length },
        { ...count },
      );
      assert.ok(keys.length > 0);
      assert.equal(await store.flaw(), undefined);
    } finally {
      await store.close();
      rmSync(folder, { recursive: true });
    }
  });
