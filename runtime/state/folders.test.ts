import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { makeFolders } from './folders.ts';

test('folders that exist, such as a mounted volume, are closed to other users', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folders-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [root, state] = [join(folder, 'root'), join(folder, 'state')];
  for (const path of [root, state]) {
    mkdirSync(path);
    chmodSync(path, 0o1777);
  }
  await makeFolders({ root, state, peers: { uids: [], gids: [] } });
  for (const path of [root, state]) assert.equal((statSync(path).mode & 0o7777).toString(8), '700', path);
});
