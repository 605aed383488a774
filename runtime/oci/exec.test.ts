import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dropExecFiles } from './exec.ts';

test('what a killed daemon left of its commands goes, and nothing else', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'bundle-'));
  try {
    for (const name of ['exec-12-1.json', 'exec-12-1.pid', 'config.json', 'exec-me.json', 'init.pid'])
      writeFileSync(join(folder, name), '');
    await dropExecFiles(folder);
    assert.deepEqual(readdirSync(folder).sort(), ['config.json', 'exec-me.json', 'init.pid']);
    await dropExecFiles(join(folder, 'none'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});
