import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
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

test('a link that another user made in a folder of the daemon leads to no change of a folder elsewhere', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-folders-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [root, state, elsewhere] = ['root', 'state', 'elsewhere'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [root, state, elsewhere]) mkdirSync(path);
  chmodSync(elsewhere, 0o755);
  const link = join(state, 'containers');
  symlinkSync(elsewhere, link);
  lchownSync(link, 1000, 1000);
  const start = (): Promise<unknown> => makeFolders({ root, state, peers: { uids: [], gids: [] } });
  await assert.rejects(start(), { code: 'STORAGE_NO_ACCESS' });
  assert.equal((statSync(elsewhere).mode & 0o7777).toString(8), '755');
  lchownSync(link, 0, 0);
  await start();
});
