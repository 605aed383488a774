import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';
import { Worker } from 'node:worker_threads';
import { tryLockFile } from '../../base/kernel/index.ts';
import { openNetworkDatabase } from './database.ts';

it('the lock of the network database ends with the thread that holds it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-database-'));
  try {
    const path = join(folder, 'network.db');
    const worker = new Worker(new URL('../engine/locked-database.worker.fixture.ts', import.meta.url), {
      workerData: path,
    });
    await once(worker, 'message');
    const lock = openSync(`${path}.lock`, 'a');
    try {
      assert.equal(tryLockFile(lock), false, 'the thread holds it');
      await worker.terminate();
      assert.equal(tryLockFile(lock), true, 'nobody holds it');
    } finally {
      closeSync(lock);
    }
    // Its transaction does not stay open either.
    const database = openNetworkDatabase(path);
    database.transaction(() => undefined);
    database.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it('a lock that cannot be opened is a failure of the disk, with its path', () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-database-'));
  try {
    const path = join(folder, 'network.db');
    mkdirSync(`${path}.lock`);
    assert.throws(() => openNetworkDatabase(path), {
      code: 'STORAGE_NO_ACCESS',
      message: /network\.db\.lock/,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
