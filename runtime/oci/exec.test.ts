import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { endLeftoverExecs } from './exec-files.ts';

test('only the leftovers of the commands of a killed daemon are removed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  const container = { id: 'c', dir: folder, init: undefined, isShim: false, takesCgroup: true };
  try {
    for (const name of [
      'exec-12-1.json',
      'exec-12-1.pid',
      'stream-3-4.log',
      'config.json',
      'exec-me.json',
      'init.pid',
    ])
      writeFileSync(join(folder, name), '');
    await endLeftoverExecs({ kind: 'none' }, container);
    assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'exec-me.json', 'init.pid']);
    await endLeftoverExecs({ kind: 'none' }, { ...container, dir: join(folder, 'none') });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
