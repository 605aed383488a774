import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { openNodeFiles } from './node-files.ts';

test('records of items that are no objects are reported as damaged', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'pc-node-files-'));
  t.after(() => rmSync(folder, { recursive: true }));
  for (const text of ['{"sysctls":null}', '{"sysctls":[]}', '{"sysctls":{"a":null}}', '{"sysctls":"x"}']) {
    writeFileSync(join(folder, 'owned.json'), text);
    await assert.rejects(openNodeFiles(folder).readOwned(), { code: 'NODE_STATE_DAMAGED' }, text);
  }
});

test(
  'a state that this user may not read is not reported as damaged',
  { skip: process.getuid?.() !== 0 && 'needs root' },
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'pc-node-files-'));
    t.after(() => {
      process.seteuid?.(0);
      rmSync(folder, { recursive: true });
    });
    chmodSync(folder, 0o700);
    process.seteuid?.(65_534);
    await assert.rejects(openNodeFiles(folder).readStatus(), {
      code: 'STORAGE_NO_ACCESS',
      message: /this user has no permission; run the command as root/u,
    });
  },
);
