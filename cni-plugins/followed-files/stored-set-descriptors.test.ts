import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { holdDescriptors } from '../../base/process/descriptors.fixture.ts';
import { createLogger } from '../../base/log/index.ts';
import { openSetStore } from './stored-set.ts';

// In a file of its own: Workers of another test could free a descriptor while all are held.
test('a lack of descriptors does not cause an empty set to be written', async () => {
  const folder = mkdtempSync(`${tmpdir()}/portcullis-stored-set-`);
  const path = `${folder}/stored`;
  const store = openSetStore({
    path,
    format: 'test',
    what: 'test files',
    log: createLogger({ level: 'silent' }),
  });
  const descriptors = holdDescriptors();
  try {
    descriptors.fill();
    store.keep({ folder: '/none', identity: '', files: [] });
  } finally {
    descriptors.release();
  }
  await pause(50);
  assert.ok(store.isKept());
  assert.ok(!existsSync(path));
  rmSync(folder, { recursive: true });
});
