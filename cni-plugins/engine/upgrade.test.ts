import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, it } from 'node:test';
import { makeDatabase, readDump } from '../../test/fixtures/dump-rows.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { lowestReader, migrations } from '../database/migrations.ts';
import { bootOf } from '../namespaces/namespace-id.ts';
import { createNetworkStore } from '../database/store.ts';

const fixtures = join(import.meta.dirname, '../../test/fixtures/upgrade');
/** The schema of the previous release, and the rows that it wrote. */
const written = 12;
const dumps = (boot: string) =>
  readDump(readFileSync(join(fixtures, 'network.sql'), 'utf8').replaceAll('BOOT', boot));

const countIn = (db: DatabaseSync, table: string): number =>
  (db.prepare(`SELECT count(*) AS count FROM ${table}`).get() as { count: number }).count;
const tablesOf = (db: DatabaseSync): string[] =>
  (
    db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").all() as {
      name: string;
    }[]
  ).map(({ name }) => name);
const versionOf = (path: string): unknown => {
  const db = new DatabaseSync(path, { readOnly: true });
  try {
    return { ...db.prepare('PRAGMA user_version').get() };
  } finally {
    db.close();
  }
};

describe('network databases of the release before', () => {
  let folder = '';
  let made = 0;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-network-upgrade-'));
  });
  after(() => rmSync(folder, { recursive: true }));
  const newPath = (): string => join(folder, `${(made += 1)}.db`);

  it('have rows in each of their tables', () => {
    const filled = new Set(
      [...dumps(bootOf()).values()].flatMap((rows) =>
        Object.keys(makeDatabase(newPath(), migrations.slice(0, written), rows)),
      ),
    );
    const db = new DatabaseSync(join(folder, '1.db'));
    assert.deepEqual([...filled].sort(), tablesOf(db));
    db.close();
  });

  // Tables of step 1 have another form and their own test (store.test.ts).
  for (let steps = 2; steps <= migrations.length; steps += 1)
    it(`keep every row for which version ${steps} has tables`, () => {
      for (const [name, rows] of dumps(bootOf())) {
        const path = newPath();
        const before = makeDatabase(path, migrations.slice(0, steps), rows);
        const database = openNetworkDatabase(path);
        try {
          const now = Object.fromEntries(
            Object.keys(before).map((table) => [table, countIn(database.db, table)]),
          );
          assert.deepEqual(now, before, name);
          for (const { namespaceId } of database.db
            .prepare("SELECT DISTINCT realm AS namespaceId FROM attachment WHERE origin = 'pod'")
            .all() as {
            namespaceId: string;
          }[]) {
            const records = createNetworkStore(database, namespaceId).records();
            assert.ok(records.length > 0, name);
            for (const { spec, state, rules } of records) {
              assert.match(
                `${state} ${spec.pod.name} ${spec.addresses[0]?.ip ?? ''}`,
                /^(ready|attaching) \S+ [\d.:a-f]+$/u,
                name,
              );
              assert.equal(typeof rules, 'object');
            }
          }
        } finally {
          database.close();
        }
      }
    });

  it('are deleted after a reboot, except for records that survive it', () => {
    const [rows = []] = dumps('00000000-0000-4000-8000-000000000000').values();
    const path = newPath();
    makeDatabase(path, migrations.slice(0, written), rows);
    const database = openNetworkDatabase(path);
    assert.deepEqual([countIn(database.db, 'attachment'), countIn(database.db, 'lease')], [0, 0]);
    database.close();
  });

  it('can be used by that release again: their version is unchanged, and the release can prepare each of its statements', () => {
    const path = newPath();
    makeDatabase(path, migrations.slice(0, written), dumps(bootOf()).get('daemon') ?? []);
    openNetworkDatabase(path).close();
    assert.deepEqual(versionOf(path), { user_version: written });
    assert.ok(lowestReader <= written);
    const db = new DatabaseSync(path);
    const statements = readFileSync(join(fixtures, 'network-statements.txt'), 'utf8').trim().split('\n');
    assert.ok(statements.length > 100);
    for (const sql of statements) db.prepare(sql);
    // The rows that it writes have defaults in each column that it does not know.
    db.exec(
      "INSERT INTO name (realm, network, name, address, kind, holder, attachment) VALUES ('r', 'n', 'web', x'00', 'alias', 'h', NULL)",
    );
    db.close();
    const again = openNetworkDatabase(path);
    assert.equal(countIn(again.db, "name WHERE holder = 'h' AND owner = ''"), 0, 'of another boot');
    again.close();
  });

  it('that a later release of this minor version extended are opened, and keep the additions', () => {
    const path = newPath();
    openNetworkDatabase(path).close();
    const later = new DatabaseSync(path);
    later.exec(
      `ALTER TABLE attachment ADD COLUMN later TEXT NOT NULL DEFAULT ''; UPDATE schema_steps SET applied = ${migrations.length + 1}`,
    );
    later.close();
    openNetworkDatabase(path).close();
    const db = new DatabaseSync(path);
    assert.deepEqual(
      { ...db.prepare('SELECT applied FROM schema_steps').get() },
      { applied: migrations.length + 1 },
    );
    assert.equal(countIn(db, "pragma_table_info('attachment') WHERE name = 'later'"), 1);
    db.close();
  });

  it('only get tables, indexes, and columns with a default in versions above the lowest supported one', () => {
    for (const step of migrations.slice(lowestReader))
      for (const statement of step
        .split(';')
        .map((one) => one.trim())
        .filter((one) => one !== ''))
        assert.match(
          statement,
          /^(CREATE TABLE|CREATE INDEX|UPDATE|ALTER TABLE \w+ ADD COLUMN \w+ \w+ NOT NULL DEFAULT )/u,
        );
  });
});
