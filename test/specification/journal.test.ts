import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openDatabase } from '../../base/storage/index.ts';
import { openNetworkDatabase } from '../../cni-plugins/database/database.ts';
import { openRecords } from '../../runtime/state/records.ts';
import type { Keyed } from '../../runtime/state/records.ts';
import { stateMigrations } from '../../runtime/database/schema.ts';
import { beginJournal, readJournal } from './journal.ts';

interface Sandbox extends Keyed {
  readonly phase: string;
}

test('a journal has each durable write of the daemon’s databases in order, and none that was rolled back', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-journal-'));
  t.after(() => rmSync(root, { recursive: true }));
  const database = await openDatabase({ path: join(root, 'state.db'), migrations: stateMigrations });
  const network = openNetworkDatabase(join(root, 'network.db'));
  const records = await openRecords<Sandbox>(database, 'sandbox');
  beginJournal(root);
  beginJournal(root);

  await records.put({ id: 'p', name: 'n', phase: 'creating' });
  await assert.rejects(
    records.put({ id: 'p', name: 'n', phase: 'ready' }, [{ sql: 'DELETE FROM container', expectChanges: 1 }]),
  );
  const insert = `INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
    VALUES ('r', 'pod', 'n', 'p', 'eth0', 'attaching', 'deny', 'h', '{}')`;
  network.db.exec(insert);
  network.db.exec("UPDATE attachment SET state = 'ready'");
  network.db.exec("UPDATE attachment SET class = 'user'");
  await records.put({ id: 'p', name: 'n', phase: 'ready' });
  await records.delete('p');
  network.db.exec('DELETE FROM attachment');
  await database.close();
  network.close();

  const { events } = readJournal(root, 'test');
  assert.deepEqual(
    events.map(({ kind, id, to }) => `${kind} ${id} ${to}`),
    [
      'pod p creating',
      'pod p ready',
      'pod p gone',
      'link p attaching',
      'link p ready',
      'link p raised',
      'link p gone',
    ],
  );
});

test('a journal begins before the first pod', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'portcullis-journal-'));
  t.after(() => rmSync(root, { recursive: true }));
  const database = await openDatabase({ path: join(root, 'state.db'), migrations: stateMigrations });
  openNetworkDatabase(join(root, 'network.db')).close();
  await (await openRecords<Sandbox>(database, 'sandbox')).put({ id: 'p', name: 'n', phase: 'ready' });
  assert.throws(() => beginJournal(root), /has pods or images already/);
  await database.close();
});
