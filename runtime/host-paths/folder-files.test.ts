import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { folderFiles } from './folder-files.ts';

test('a subfolder that is removed while its folder is listed is no missing folder', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folder-files-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, 'policy.yaml'), 'kind: NetworkPolicy\n');
  let isOver = false;
  const changes = Array.from({ length: 8 }, async (_, index) => {
    const inner = join(folder, `inner-${index}`);
    while (!isOver) {
      await mkdir(inner);
      await rmdir(inner);
    }
  });
  try {
    for (let count = 0; count < 500; count += 1) {
      const files = await folderFiles(folder);
      assert.equal(files.length, 1);
    }
  } finally {
    isOver = true;
    await Promise.all(changes);
  }
  await rm(folder, { recursive: true });
  await assert.rejects(folderFiles(folder), { code: 'ENOENT' });
});
