import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MNT_DETACH,
  bindMount,
  isMountpoint,
  mount,
  setPropagation,
  umount,
} from '../index.ts';
import { mountLines, openDescriptors, temporaryFolder } from '../temporary.fixture.ts';

test('mount and umount a tmpfs', (t) => {
  const folder = temporaryFolder(t);
  assert.equal(isMountpoint(folder), false);
  mount('tmpfs', folder, 'tmpfs', MS_NOSUID | MS_NODEV, 'size=64k,mode=0700');
  assert.equal(isMountpoint(folder), true);
  assert.match(mountLines(folder)[0]?.join(' ') ?? '', /nosuid,nodev.* tmpfs rw,size=64k,mode=700/);
  umount(folder);
  assert.equal(isMountpoint(folder), false);
  assert.throws(() => umount(folder), { code: 'KERNEL_EINVAL' });
});

test('mount refuses options that the kernel would silently truncate', (t) => {
  const folder = temporaryFolder(t);
  assert.throws(() => mount('tmpfs', folder, 'tmpfs', 0, `mode=0700,${'x'.repeat(4096)}`), {
    code: 'KERNEL_E2BIG',
  });
  assert.throws(() => mount('none', folder, 'no-such-fs', 0), { code: 'KERNEL_ENODEV' });
  assert.throws(() => mount('tmpfs', `${folder}/absent`, 'tmpfs', 0), { code: 'KERNEL_ENOENT' });
});

test('isMountpoint is false for a missing path, and for a link to a mount point', (t) => {
  const folder = temporaryFolder(t);
  symlinkSync('/proc', `${folder}/link`);
  assert.equal(isMountpoint(`${folder}/absent`), false);
  assert.equal(isMountpoint(`${folder}/link`), false);
  assert.equal(isMountpoint('/proc'), true);
});

test('a bind mount shows the source; a read-only one keeps the flags of its source', (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['source', 'target']) mkdirSync(`${folder}/${name}`);
  mount('tmpfs', `${folder}/source`, 'tmpfs', MS_NOSUID | MS_NOEXEC);
  writeFileSync(`${folder}/source/file`, 'content');
  bindMount(`${folder}/source`, `${folder}/target`, { readonly: true });
  assert.equal(readFileSync(`${folder}/target/file`, 'utf8'), 'content');
  assert.throws(() => writeFileSync(`${folder}/target/file`, ''), { code: 'EROFS' });
  writeFileSync(`${folder}/source/file`, 'the source stays writable');
  assert.match(mountLines(`${folder}/target`)[0]?.[5] ?? '', /^ro,nosuid,noexec/);
});

test('a recursive read-only bind includes the mounts below, a plain bind omits them', (t) => {
  const folder = temporaryFolder(t);
  for (const name of ['source', 'recursive', 'plain']) mkdirSync(`${folder}/${name}`);
  mkdirSync(`${folder}/source/below`);
  mount('tmpfs', `${folder}/source/below`, 'tmpfs', 0);
  bindMount(`${folder}/source`, `${folder}/recursive`, { recursive: true, readonly: true });
  bindMount(`${folder}/source`, `${folder}/plain`);
  assert.equal(isMountpoint(`${folder}/recursive/below`), true);
  assert.equal(isMountpoint(`${folder}/plain/below`), false);
  assert.throws(() => writeFileSync(`${folder}/recursive/below/file`, ''), { code: 'EROFS' });
});

test('a file can be bound on a file; a link at the target is not followed', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(`${folder}/source`, 'from here');
  writeFileSync(`${folder}/target`, '');
  writeFileSync(`${folder}/victim`, 'untouched');
  symlinkSync(`${folder}/victim`, `${folder}/link`);
  bindMount(`${folder}/source`, `${folder}/target`);
  assert.equal(readFileSync(`${folder}/target`, 'utf8'), 'from here');
  assert.throws(() => bindMount(`${folder}/source`, `${folder}/link`), { code: 'KERNEL_ELOOP' });
  assert.equal(readFileSync(`${folder}/victim`, 'utf8'), 'untouched');
});

test('a mount has the requested propagation', (t) => {
  const folder = temporaryFolder(t);
  mount('tmpfs', folder, 'tmpfs', 0);
  const shared = (): boolean => mountLines(folder)[0]?.some((field) => field.startsWith('shared:')) ?? false;
  setPropagation(folder, 'shared');
  assert.equal(shared(), true);
  // On a shared parent a new mount is shared. Asking for private makes it private.
  mkdirSync(`${folder}/bound`);
  bindMount('/etc', `${folder}/bound`, { propagation: 'private' });
  assert.ok(!mountLines(`${folder}/bound`)[0]?.some((field) => field.startsWith('shared:')));
  setPropagation(folder, 'rprivate');
  assert.equal(shared(), false);
  umount(`${folder}/bound`, MNT_DETACH);
});

test('a failed bind leaves no descriptor', (t) => {
  const folder = temporaryFolder(t);
  const before = openDescriptors();
  assert.throws(() => bindMount(folder, `${folder}/absent`), { code: 'KERNEL_ENOENT' });
  assert.throws(() => bindMount(`${folder}/absent`, folder), { code: 'KERNEL_ENOENT' });
  assert.equal(openDescriptors(), before);
});
