import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import workerThreads from 'node:worker_threads';
import type { PortcullisError } from '../errors/index.ts';

/** The started threads, so that a test can terminate one from outside, as the kernel or a defect would. */
const started: workerThreads.Worker[] = [];
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(...given: ConstructorParameters<typeof workerThreads.Worker>) {
    super(...given);
    started.push(this);
  }
};
syncBuiltinESMExports();
const { openDatabase } = await import('./index.ts');

const migrations = [{ version: 1, sql: 'CREATE TABLE item (id INTEGER PRIMARY KEY) STRICT' }];
let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'portcullis-lost-'));
});
after(() => rmSync(folder, { recursive: true }));

test('the loss of the thread is reported once, and pending and later calls fail', async () => {
  const lost: PortcullisError[] = [];
  const db = await openDatabase({
    path: join(folder, 'lost.db'),
    migrations,
    onLost: (error) => lost.push(error),
  });
  const underWay = assert.rejects(
    Promise.all(
      Array.from({ length: 1000 }, (_, id) =>
        db.write([{ sql: 'INSERT INTO item VALUES (?)', params: [id] }]),
      ),
    ),
    {
      code: 'STORAGE_WRITER_LOST',
    },
  );
  await started.at(-1)?.terminate();
  await underWay;
  await assert.rejects(db.all('SELECT 1'), { code: 'STORAGE_WRITER_LOST' });
  assert.deepEqual(
    lost.map(({ code }) => code),
    ['STORAGE_WRITER_LOST'],
  );
  // Services without a daemon have databases, too.
  assert.match(
    lost[0]?.message ?? '',
    /; restart the process that uses it; acknowledged writes are on disk /u,
  );
});

test('neither a close nor a database that does not open is a loss', async () => {
  const lost: PortcullisError[] = [];
  const onLost = (error: PortcullisError): void => void lost.push(error);
  const db = await openDatabase({ path: join(folder, 'closed.db'), migrations, onLost });
  await db.close();
  await assert.rejects(openDatabase({ path: join(folder, 'closed.db'), migrations: [], onLost }), {
    code: 'STORAGE_NEWER_SCHEMA',
  });
  await started.at(-1)?.terminate();
  assert.deepEqual(lost, []);
});
