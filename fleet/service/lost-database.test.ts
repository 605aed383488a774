import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import workerThreads from 'node:worker_threads';
import type { PortcullisError } from '../../base/errors/index.ts';

/** The started threads. Two of them have the database open. */
const started: workerThreads.Worker[] = [];
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(...given: ConstructorParameters<typeof workerThreads.Worker>) {
    super(...given);
    started.push(this);
  }
};
syncBuiltinESMExports();
const { startFleetService } = await import('./fleet-service.ts');

test('an aggregator that has lost a thread of its database reports it, and can be closed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-lost-database-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const thread of [0, 1]) {
    started.length = 0;
    const lost: string[] = [];
    const service = await startFleetService({
      listen: '127.0.0.1:0',
      data: folder,
      keepDays: 1,
      keepBytes: 2 ** 30,
      onLost: ({ code }: PortcullisError) => lost.push(code),
    });
    await started[thread]?.terminate();
    await service.close();
    assert.deepEqual(lost, ['STORAGE_WRITER_LOST']);
  }
});
