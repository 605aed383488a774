import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import workerThreads from 'node:worker_threads';
import type { PortcullisError } from '../../base/errors/index.ts';

/** The started threads. The first one owns the database. */
const started: workerThreads.Worker[] = [];
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(...given: ConstructorParameters<typeof workerThreads.Worker>) {
    super(...given);
    started.push(this);
  }
};
syncBuiltinESMExports();
const { startTrustService } = await import('./trust-service.ts');

test('a trust service that has lost its database reports it once, and can be closed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-lost-store-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const lost: string[] = [];
  const service = await startTrustService({
    listen: '127.0.0.1:0',
    data: folder,
    onLost: ({ code }: PortcullisError) => lost.push(code),
  });
  await started[0]?.terminate();
  const { status } = await fetch(`${service.url}/v2/example.com/app/_trust/tuf/timestamp.key`);
  assert.equal(status, 500);
  assert.deepEqual(lost, ['STORAGE_WRITER_LOST']);
  await service.close();
});
