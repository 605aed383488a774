import assert from 'node:assert/strict';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
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

test('folders that another user owns or may write to are taken over, with those in the state folder', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folders-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [root, state] = [join(folder, 'root'), join(folder, 'state')];
  const below = ['containers', 'oci', 'launchers'].map((name) => join(state, name));
  for (const path of [root, state, ...below]) {
    mkdirSync(path);
    chmodSync(path, 0o777);
    chownSync(path, 1000, 1000);
  }
  // A user of this group may pass through the state folder.
  await makeFolders({ root, state, peers: { uids: [], gids: [1000] } });
  const found = [root, state, ...below].map((path) => {
    const { uid, mode } = statSync(path);
    return `${uid} ${(mode & 0o7777).toString(8)}`;
  });
  assert.deepEqual(found, ['0 700', '0 711', '0 700', '0 700', '0 755']);
});
