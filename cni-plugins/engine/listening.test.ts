import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { closeFd, listenUnix } from '../../base/kernel/index.ts';
import { createLogger } from '../../base/log/index.ts';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { createListeningSide } from './listening.ts';

test('a lost thread listens again when there is a free descriptor', { timeout: 30_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-listening-'));
  const listener = listenUnix(join(folder, 'cni.sock'));
  let times = 0;
  const side = createListeningSide(
    (call) => {
      if (call.do === 'listen') {
        times += 1;
        closeFd(call.fd);
      }
      return Promise.resolve({});
    },
    () => Promise.resolve(undefined),
    createLogger({ level: 'silent' }),
  );
  const service = await side.servePlugins(listener);
  const descriptors = holdDescriptors();
  try {
    assert.equal(times, 1);
    descriptors.fill();
    side.lost();
    // The first attempt, without a free descriptor, comes after one second.
    await pause(1_500);
    descriptors.release();
    for (let waited = 0; times === 1 && waited < 60_000; waited += 20) await pause(20);
    assert.equal(times, 2);
  } finally {
    descriptors.release();
    await service.close();
    closeFd(listener);
    rmSync(folder, { recursive: true });
  }
});
