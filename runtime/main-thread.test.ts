import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createLogger } from '../base/log/index.ts';
import { holdDescriptors } from '../base/process/descriptors.fixture.ts';
import { favourMainThread } from './main-thread.ts';

test('a Worker that starts while no descriptors are free does not end the process', async () => {
  favourMainThread(createLogger({ level: 'silent' }));
  const worker = new Worker('setInterval(() => undefined, 1_000)', { eval: true, name: 'writer.worker' });
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    assert.doesNotThrow(() => process.emit('worker', worker));
  } finally {
    descriptors.release();
    await worker.terminate();
  }
});
