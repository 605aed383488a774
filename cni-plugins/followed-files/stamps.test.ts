import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, rmdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { stampsOf } from './stamps.ts';
import type { FolderStamps } from './stamps.ts';

const root = mkdtempSync(join(tmpdir(), 'portcullis-stamps-'));
after(() => rmSync(root, { recursive: true, force: true }));

const look = (folder: string): FolderStamps => {
  const found = stampsOf(folder, { files: 10, file: 1000, folder: 1000 }, 'policies');
  if (found === 'missing' || 'problem' in found) assert.fail(JSON.stringify(found));
  return found;
};

test('a folder that was created again is another one, also if it has the inode of the former one', async (t) => {
  const folder = join(root, 'policies');
  for (let round = 0; round < 100; round += 1) {
    mkdirSync(folder);
    const [before, { ino, birthtimeNs }] = [look(folder), statSync(folder, { bigint: true })];
    if (birthtimeNs === 0n) return t.skip('the file system has no birth times');
    // Birth times have the resolution of the kernel's clock ticks.
    await pause(20);
    rmdirSync(folder);
    mkdirSync(folder);
    const [now, next] = [look(folder), statSync(folder, { bigint: true })];
    rmdirSync(folder);
    assert.notEqual(now.identity, before.identity);
    if (next.ino === ino) return undefined;
  }
  return t.skip('the file system gave no inode to a folder a second time');
});

test('a folder stays the same one while its files change', async () => {
  const folder = join(root, 'changing');
  mkdirSync(folder);
  const before = look(folder);
  await pause(20);
  writeFileSync(join(folder, 'a.yaml'), 'a');
  const filled = look(folder);
  rmSync(join(folder, 'a.yaml'));
  const emptied = look(folder);
  assert.deepEqual([filled.identity, emptied.identity], [before.identity, before.identity]);
  assert.deepEqual([[...filled.files.keys()], emptied.files.size], [['a.yaml'], 0]);
});
