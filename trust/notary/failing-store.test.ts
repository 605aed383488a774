import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchJson, multipart, post, publisher } from './publisher.fixture.ts';
import type { OnlineEntries } from './publisher.fixture.ts';
import { startTrustService } from './trust-service.ts';

test('an update that cannot be stored is refused with the documented error, changes nothing, and is reported to the operator', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-failing-store-'));
  const failures: string[] = [];
  const service = await startTrustService({
    listen: '127.0.0.1:0',
    data: folder,
    onFailure: (error) => failures.push(error.message),
  });
  const database = new DatabaseSync(join(folder, 'trust.db'));
  try {
    const address = `${service.url}/v2/example.com/app/_trust/tuf/`;
    const online: OnlineEntries = {
      snapshot: await fetchJson(`${address}snapshot.key`),
      timestamp: await fetchJson(`${address}timestamp.key`),
    };
    const owner = publisher('example.com/app');
    const first = [
      { name: 'root', bytes: owner.root(1, online) },
      { name: 'targets', bytes: owner.targets(1) },
    ];
    assert.equal((await post(address, multipart(first))).status, 200);
    const before = await (await fetch(`${address}timestamp.json`)).text();

    const publish = () => post(address, multipart([{ name: 'targets', bytes: owner.targets(2) }]));
    database.exec('ALTER TABLE changes RENAME TO away');
    const { status, code, detail } = await publish();
    assert.deepEqual([status, code, detail], [500, 'UPDATING', undefined]);
    assert.match(failures.join('\n'), /STORAGE_/u);
    assert.equal(await (await fetch(`${address}timestamp.json`)).text(), before);
    database.exec('ALTER TABLE away RENAME TO changes');
    assert.equal((await publish()).status, 200);
  } finally {
    database.close();
    await service.close();
    rmSync(folder, { recursive: true, force: true });
  }
});

test('a key file that cannot be created is reported with the reason', async () => {
  const data = mkdtempSync(join(tmpdir(), 'portcullis-key-file-'));
  try {
    const keyFile = join(data, 'none', 'service.key');
    await assert.rejects(startTrustService({ listen: '127.0.0.1:0', data, keyFile }), {
      code: 'STORAGE_NO_ACCESS',
      message: /none\/service\.key: its folder does not exist; check that the folder exists/u,
    });
  } finally {
    rmSync(data, { recursive: true, force: true });
  }
});
