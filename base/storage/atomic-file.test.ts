import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { dropAbandonedWrites, writeFileAtomic } from './index.ts';

test('what killed writes left beside a file goes; the file, and what others wrote, stays', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'a.json');
  await writeFileAtomic(file, 'kept');
  for (const name of ['.a.json.0123456789ab.tmp', '.a.json.ba9876543210.tmp', '.b.json.0123456789ab.tmp', '.a.json.tmp', 'a.json.bak'])
    writeFileSync(join(folder, name), '');
  await dropAbandonedWrites(file);
  assert.deepEqual(readdirSync(folder).sort(), ['.a.json.tmp', '.b.json.0123456789ab.tmp', 'a.json', 'a.json.bak']);
  assert.equal(readFileSync(file, 'utf8'), 'kept');
});
