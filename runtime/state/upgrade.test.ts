import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { makeDatabase, readDump } from '../../test/fixtures/dump-rows.ts';
import { openDatabaseLog, verifyLog } from '../../trust/verdict-log/index.ts';
import type { ContainerRecord } from '../containers/record.ts';
import { openImageRecords } from '../images/records.ts';
import type { SandboxRecord } from '../pods/record.ts';
import { openRecords } from './records.ts';
import { stateMigrations } from '../database/schema.ts';

/** The database that the previous release wrote: test/fixtures/upgrade. */
const dump = readDump(
  readFileSync(join(import.meta.dirname, '../../test/fixtures/upgrade/state.sql'), 'utf8'),
);
const rows = [...dump.values()].flat();
const schema = stateMigrations.map(({ sql }) => sql);

describe('a database of the previous release', () => {
  let folder = '';
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'portcullis-state-upgrade-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  for (let steps = 1; steps <= schema.length; steps += 1)
    it(`keeps pods, containers, images and verdicts that version ${steps} has tables for`, async () => {
      const path = join(folder, `${steps}.db`);
      const before = makeDatabase(path, schema.slice(0, steps), rows);
      const database = await openDatabase({ path, migrations: stateMigrations });
      try {
        for (const [table, count] of Object.entries(before))
          assert.deepEqual(
            { ...(await database.get(`SELECT count(*) AS count FROM ${table}`)) },
            { count },
            table,
          );
        const sandboxes = (await openRecords<SandboxRecord>(database, 'sandbox')).list();
        assert.deepEqual(
          sandboxes.map(({ phase, config, attachment, bootId }) => [
            phase,
            config.metadata?.name,
            attachment?.ips.length,
            bootId,
          ]),
          [
            ['ready', 'lasting', 1, undefined],
            ['stopped', 'stopped', 1, undefined],
          ],
        );
        const containers = (await openRecords<ContainerRecord>(database, 'container')).list();
        assert.deepEqual(
          containers.map(({ phase, config, exitCode, sandboxId }) => [
            phase,
            config.metadata?.name,
            exitCode,
            sandboxId === sandboxes[0]?.id,
          ]),
          [
            ['running', 'lives', 0, true],
            ['exited', 'ended', 42, true],
            ['created', 'waits', 0, true],
          ],
        );
        const images = await openImageRecords(database);
        if (before['image'] === undefined) return;
        const [image] = images.list();
        assert.equal(image?.id, containers[0]?.imageId);
        assert.equal(images.byName('good.test/app/a:1')?.id, image?.id);
        assert.equal(images.byName('good.test/app/a:1')?.names[0]?.dossier.items.length, 1);
        assert.deepEqual(
          image?.layers.map((layer) => images.layer(layer.folder)?.diffId),
          image?.layers.map(({ diffId }) => diffId),
        );
      } finally {
        await database.close();
      }
    });

  it('has a complete verdict log', async () => {
    const path = join(folder, 'log.db');
    makeDatabase(path, schema.slice(0, 6), rows);
    await (await openDatabase({ path, migrations: stateMigrations })).close();
    const log = openDatabaseLog(path);
    const { ok, rows: count, checkpoints, problems } = verifyLog(log);
    log.close();
    assert.deepEqual(
      { ok, count, checkpoints, problems },
      { ok: true, count: 2, checkpoints: 2, problems: [] },
    );
  });
});
