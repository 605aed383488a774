import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { syncTree } from './index.ts';
import { syncedDuring } from './synced.fixture.ts';

test('files are synced before the folder that contains them, and links are not followed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-sync-'));
  mkdirSync(join(folder, 'in/deep'), { recursive: true });
  for (const name of ['a', 'in/b', 'in/deep/c']) writeFileSync(join(folder, name), name);
  symlinkSync('/proc/nowhere', join(folder, 'in/link'));
  try {
    const synced = await syncedDuring(() => syncTree(folder));
    assert.deepEqual(
      synced.toSorted(),
      ['', '/a', '/in', '/in/b', '/in/deep', '/in/deep/c'].map((name) => folder + name),
    );
    const before = (one: string, other: string): boolean =>
      synced.indexOf(join(folder, one)) < synced.indexOf(join(folder, other));
    assert.ok(
      before('in/deep/c', 'in/deep') && before('in/deep', 'in') && before('in/b', 'in') && before('in', ''),
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
