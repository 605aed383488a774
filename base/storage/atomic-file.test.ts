import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import filesOfNode from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  createFileAtomic,
  dropAbandonedWrites,
  dropOldAbandonedWrites,
  writeFileAtomic,
  writeFilesAtomic,
} from './index.ts';

test('the remains of killed writes of a file are removed, but not the file or other files', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'a.json');
  await writeFileAtomic(file, 'kept');
  for (const name of [
    '.a.json.0123456789ab.tmp',
    '.a.json.ba9876543210.tmp',
    '.b.json.0123456789ab.tmp',
    '.a.json.tmp',
    'a.json.bak',
  ])
    writeFileSync(join(folder, name), '');
  await dropAbandonedWrites(file);
  assert.deepEqual(readdirSync(folder).sort(), [
    '.a.json.tmp',
    '.b.json.0123456789ab.tmp',
    'a.json',
    'a.json.bak',
  ]);
  assert.equal(readFileSync(file, 'utf8'), 'kept');
});

test('only old abandoned writes are removed from a shared folder, not a running write', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const long = new Date(Date.now() - 3_600_000);
  for (const name of ['.a.json.0123456789ab.tmp', '.b.0123456789ab.tmp', 'c.0123456789ab.tmp', '.d.tmp']) {
    writeFileSync(join(folder, name), '');
    utimesSync(join(folder, name), long, long);
  }
  writeFileSync(join(folder, '.a.json.ba9876543210.tmp'), '');
  await dropOldAbandonedWrites(folder);
  assert.deepEqual(readdirSync(folder).sort(), ['.a.json.ba9876543210.tmp', '.d.tmp', 'c.0123456789ab.tmp']);
  await dropOldAbandonedWrites(join(folder, 'none'));
});

test('a new file is complete, has its mode, and never replaces a file or a link', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const [file, link] = [join(folder, 'a'), join(folder, 'link')];
  assert.equal(await createFileAtomic(file, 'first', { mode: 0o640 }), true);
  assert.equal(statSync(file).mode & 0o777, 0o640);
  assert.equal(await createFileAtomic(file, 'second'), false);
  symlinkSync(join(folder, 'elsewhere'), link);
  assert.equal(await createFileAtomic(link, 'third'), false);
  assert.equal(readFileSync(file, 'utf8'), 'first');
  assert.deepEqual(readdirSync(folder).sort(), ['a', 'link']);
});

test('a new file replaces no other one on a file system without hard links', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  // The answer of FAT.
  t.mock.method(filesOfNode, 'link', async () => {
    throw Object.assign(new Error('EPERM: operation not permitted, link'), { code: 'EPERM' });
  });
  syncBuiltinESMExports();
  t.after(() => {
    t.mock.restoreAll();
    syncBuiltinESMExports();
  });
  const file = join(folder, 'a');
  assert.equal(await createFileAtomic(file, 'first', { mode: 0o640 }), true);
  assert.equal(statSync(file).mode & 0o777, 0o640);
  assert.equal(await createFileAtomic(file, 'second'), false);
  assert.equal(readFileSync(file, 'utf8'), 'first');
  assert.deepEqual(readdirSync(folder), ['a']);
});

test('a file that cannot be created leaves nothing behind', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  await assert.rejects(createFileAtomic(join(folder, 'none/a'), 'x'), /STORAGE_/);
  await assert.rejects(createFileAtomic(join(folder, 'n'.repeat(255)), 'x'), /STORAGE_/);
  assert.deepEqual(readdirSync(folder), []);
});

test('files that belong together leave no new name when one of them cannot be replaced', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-atomic-'));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, 'last'));
  writeFileSync(join(folder, 'old'), 'old');
  const files = ['old', 'new', 'last'].map((name) => ({
    path: join(folder, name),
    bytes: Buffer.from(name.toUpperCase()),
  }));
  await assert.rejects(writeFilesAtomic(files), { code: 'STORAGE_NO_ACCESS' });
  assert.deepEqual(readdirSync(folder).sort(), ['last', 'old']);
});
