import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { O_DIRECTORY, O_PATH } from '../ffi/constants.ts';
import { closeFd, openFile } from './files.ts';
import { kernelFileSystemOf, openNamespaceRoot, fileIdentityOf } from './file-identity.ts';
import { temporaryFolder } from '../temporary.fixture.ts';

test('two files are distinguished, and the root of a mount from the files in it', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'a'), '');
  const opened = [join(folder, 'a'), folder, '/proc', '/proc/sys'].map((path) => openFile(path, O_PATH));
  t.after(() => opened.forEach(closeFd));
  const [file, parent, proc, below] = opened.map(fileIdentityOf);
  assert.deepEqual([file?.isFile, parent?.isFile], [true, false]);
  assert.notEqual(file?.inode, parent?.inode);
  assert.equal(file?.mountId, parent?.mountId);
  assert.deepEqual([proc?.mountRoot, below?.mountRoot], [true, false]);
  assert.notEqual(proc?.mountId, parent?.mountId);
});

test('files of proc and sysfs are recognized by their file system', (t) => {
  const opened = ['/proc/keys', '/sys/kernel', '/dev/null'].map((path) => openFile(path, O_PATH));
  t.after(() => opened.forEach(closeFd));
  assert.deepEqual(opened.map(kernelFileSystemOf), ['proc', 'sysfs', undefined]);
});

test('the root of a mount namespace is found from a process that has changed its own root', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'deep/er'), { recursive: true });
  const script = `
    const { glibc } = await import(process.argv[1]);
    const changed = glibc('chroot', 'int', ['str'])(process.argv[2]);
    process.stdin.resume();
    console.log(changed);`;
  const library = join(import.meta.dirname, '../ffi/libc.ts');
  const start = async (root: string): Promise<number> => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, library, root], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    t.after(() => child.kill('SIGKILL'));
    assert.equal(String((await once(child.stdout, 'data'))[0]), '0\n');
    return child.pid ?? 0;
  };
  const root = openFile('/', O_PATH | O_DIRECTORY);
  t.after(() => closeFd(root));
  for (const [place, isOwnRoot] of [
    ['/', true],
    [join(folder, 'deep/er'), false],
  ] as const) {
    const found = openNamespaceRoot(await start(place));
    assert.equal(found.isOwnRoot, isOwnRoot);
    assert.deepEqual(fileIdentityOf(found.fd), fileIdentityOf(root));
    closeFd(found.fd);
  }
});
