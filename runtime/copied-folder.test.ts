import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { createCopiedFolder } from './copied-folder.ts';
import { hostPathsHere } from './host-paths/in-process.fixture.ts';

describe('a copied folder', () => {
  let top = '';
  let folder = '';
  let target = '';
  /** Names of the files whose content was read. */
  let read: string[] = [];
  /** The error of the next calls, by file name; `*`: the error of each call for contents. */
  const failures = new Map<string, string>();
  const paths = {
    folderFiles: hostPathsHere.folderFiles,
    folderContents: async (at: string, names: readonly string[], limit: number) => {
      read.push(...names);
      const all = failures.get('*');
      if (all !== undefined) throw Object.assign(new Error(all), { code: all });
      const contents = await hostPathsHere.folderContents(at, names, limit);
      return contents.map((content, index) => {
        const failed = failures.get(names[index] ?? '');
        return failed === undefined ? content : { failed };
      });
    },
  };
  const open = () => createCopiedFolder(folder, target, paths);
  const copies = (): string[] => readdirSync(target, { recursive: true, encoding: 'utf8' }).toSorted();

  beforeEach(() => {
    top = mkdtempSync(join(tmpdir(), 'portcullis-copied-'));
    folder = join(top, 'folder');
    target = join(top, 'copy');
    mkdirSync(folder);
    failures.clear();
    read = [];
  });
  afterEach(() => rmSync(top, { recursive: true }));

  it('does not exist without the folder, and appears with it', async () => {
    const copied = open();
    rmSync(folder, { recursive: true });
    assert.deepEqual(await copied.follow(), []);
    assert.equal(existsSync(target), false);
    mkdirSync(folder);
    writeFileSync(join(folder, 'a.yaml'), 'a');
    assert.deepEqual(await copied.follow(), []);
    assert.deepEqual(copies(), ['a.yaml']);
    rmSync(folder, { recursive: true });
    assert.deepEqual(await copied.follow(), []);
    assert.equal(existsSync(target), false);
  });

  it('has the text files of the folder and of its subfolders, byte for byte', async () => {
    const bytes = Buffer.from([0x61, 0xff, 0xfe, 0x00, 0xc3, 0xa4]);
    writeFileSync(join(folder, 'a.yaml'), bytes);
    mkdirSync(join(folder, 'inner'));
    writeFileSync(join(folder, 'inner/b.conf'), 'b');
    for (const other of ['c.txt', '.d.yaml']) writeFileSync(join(folder, other), 'x');
    assert.deepEqual(await open().follow(), []);
    assert.deepEqual(copies(), ['a.yaml', 'inner', 'inner/b.conf']);
    assert.deepEqual(readFileSync(join(target, 'a.yaml')), bytes);
  });

  it('reads a new file twice, and then only when it has changed', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    const copied = open();
    for (let times = 0; times < 4; times += 1) await copied.follow();
    assert.deepEqual(read, ['a.yaml', 'a.yaml']);
    const { ino } = statSync(join(target, 'a.yaml'));
    writeFileSync(join(folder, 'b.yaml'), 'b');
    await copied.follow();
    assert.deepEqual(read.slice(2), ['b.yaml']);
    assert.equal(statSync(join(target, 'a.yaml')).ino, ino);
  });

  it('keeps its own folder when the last file is removed', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    const copied = open();
    await copied.follow();
    const { ino } = statSync(target);
    rmSync(join(folder, 'a.yaml'));
    for (let times = 0; times < 3; times += 1) await copied.follow();
    assert.deepEqual(copies(), []);
    assert.equal(statSync(target).ino, ino);
  });

  it('keeps the last copy of a file that cannot be read, reports this, and copies the file when it can be read', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    writeFileSync(join(folder, 'b.yaml'), 'b');
    const copied = open();
    await copied.follow();
    failures.set('a.yaml', 'EACCES');
    writeFileSync(join(folder, 'a.yaml'), 'changed');
    writeFileSync(join(folder, 'b.yaml'), 'changed');
    assert.deepEqual(await copied.follow(), ['a.yaml: EACCES']);
    assert.deepEqual(await copied.follow(), ['a.yaml: EACCES'], 'the copy is tried again');
    assert.equal(readFileSync(join(target, 'a.yaml'), 'utf8'), 'a');
    assert.equal(readFileSync(join(target, 'b.yaml'), 'utf8'), 'changed');
    failures.clear();
    assert.deepEqual(await copied.follow(), []);
    assert.equal(readFileSync(join(target, 'a.yaml'), 'utf8'), 'changed');
  });

  it('has an invalid file instead of a file that could never be read, so that readers refuse it', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    failures.set('a.yaml', 'EIO');
    const copied = open();
    assert.deepEqual(await copied.follow(), ['a.yaml: EIO']);
    assert.equal(statSync(join(target, 'a.yaml')).size, 16 * 1024 * 1024 + 1);
    failures.clear();
    assert.deepEqual(await copied.follow(), []);
    assert.equal(readFileSync(join(target, 'a.yaml'), 'utf8'), 'a');
  });

  it('never misses a renamed file', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    const copied = open();
    await copied.follow();
    renameSync(join(folder, 'a.yaml'), join(folder, 'b.yaml'));
    failures.set('*', 'EMFILE');
    assert.deepEqual(await copied.follow(), ['it cannot be copied: EMFILE']);
    assert.deepEqual(copies(), ['a.yaml']);
    failures.clear();
    await copied.follow();
    assert.deepEqual(copies(), ['b.yaml']);
  });

  it('fails until it was complete once, because an empty copy would mean an empty folder', async () => {
    writeFileSync(join(folder, 'a.yaml'), 'a');
    failures.set('*', 'ENOSPC');
    const copied = open();
    await assert.rejects(copied.follow(), { message: 'ENOSPC' });
    failures.clear();
    assert.deepEqual(await copied.follow(), []);
  });

  it('copies more files than one request asks for, and removes the files that an earlier run left', async () => {
    mkdirSync(join(target, 'old'), { recursive: true });
    writeFileSync(join(target, 'old/x.yaml'), 'x');
    for (let index = 0; index < 200; index += 1)
      writeFileSync(join(folder, `${String(index)}.yaml`), String(index));
    await open().follow();
    assert.equal(copies().length, 200);
    assert.equal(readFileSync(join(target, '199.yaml'), 'utf8'), '199');
    assert.ok(!existsSync(join(target, 'old')));
  });
});
