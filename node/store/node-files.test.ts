import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
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
