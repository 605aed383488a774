import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import workerThreads from 'node:worker_threads';

/** The number of answers in each message of a started thread. */
const messages: number[] = [];
workerThreads.Worker = class extends workerThreads.Worker {
  constructor(...given: ConstructorParameters<typeof workerThreads.Worker>) {
    super(...given);
    this.on('message', (answers: readonly unknown[]) => messages.push(answers.length));
  }
};
syncBuiltinESMExports();
const { openDatabase } = await import('./index.ts');

/** Takes much longer than the time for which answers are collected. */
const long = `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000) SELECT max(x) AS most FROM n`;

test('long reads that are requested together are answered one by one', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-long-reads-'));
  const db = await openDatabase({ path: join(folder, 'state.db'), migrations: [] });
  t.after(async () => {
    await db.close();
    rmSync(folder, { recursive: true });
  });
  messages.length = 0;
  const found = await Promise.all(Array.from({ length: 3 }, () => db.get(long)));
  assert.deepEqual(
    found,
    Array.from({ length: 3 }, () => ({ most: 1_000_000 })),
  );
  assert.deepEqual(messages, [1, 1, 1]);
});
