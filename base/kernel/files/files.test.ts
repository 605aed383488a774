import assert from 'node:assert/strict';
import {
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_SYMLINKS,
  S_IFCHR,
  closeFd,
  createWriteOut,
  mkfifo,
  mknod,
  openFile,
  openInRoot,
  setTimes,
  syncfs,
  syncfsOf,
  writeFd,
} from '../index.ts';
import { openDescriptors, temporaryFolder } from '../temporary.fixture.ts';

function readInRoot(root: string | number, path: string, resolve?: number): string {
  const fd = openInRoot(root, path, { flags: O_RDONLY, ...(resolve === undefined ? {} : { resolve }) });
  try {
    return readFileSync(fd, 'utf8');
  } finally {
    closeFd(fd);
  }
}

test('no path leaves the root', (t) => {
  const folder = temporaryFolder(t);
  const root = `${folder}/root`;
  mkdirSync(`${root}/etc`, { recursive: true });
  writeFileSync(`${folder}/secret`, 'outside');
  writeFileSync(`${root}/secret`, 'inside');
  symlinkSync('/secret', `${root}/etc/absolute`);
  symlinkSync('../../../secret', `${root}/etc/relative`);
  symlinkSync('/proc/self/root/etc', `${root}/etc/magic`);
  for (const path of ['/secret', '../../secret', 'etc/absolute', 'etc/relative', 'etc/../../secret']) {
    assert.equal(readInRoot(root, path), 'inside', path);
  }
  assert.throws(() => readInRoot(root, 'etc/magic'), { code: 'KERNEL_ENOENT' });
  assert.throws(() => readInRoot(root, 'etc/absolute', RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS), {
    code: 'KERNEL_ELOOP',
  });
  assert.throws(() => readInRoot(root, 'etc/relative', RESOLVE_BENEATH), { code: 'KERNEL_EXDEV' });
});

test('openInRoot accepts a descriptor, creates files, and leaves no descriptor open', (t) => {
  const folder = temporaryFolder(t);
  const before = openDescriptors();
  const root = openFile(folder, O_PATH | O_DIRECTORY);
  const fd = openInRoot(root, '/new', { flags: O_WRONLY | O_CREAT | O_EXCL, mode: 0o600 });
  writeFd(fd, Buffer.from('written'));
  assert.equal(fstatSync(fd).mode & 0o777, 0o600);
  closeFd(fd);
  closeFd(root);
  assert.equal(readInRoot(folder, 'new'), 'written');
  assert.throws(() => openInRoot(folder, 'absent', { flags: O_RDONLY }), { code: 'KERNEL_ENOENT' });
  assert.throws(() => openInRoot(`${folder}/new`, 'x', { flags: O_RDONLY }), { code: 'KERNEL_ENOTDIR' });
  assert.equal(openDescriptors(), before);
});

test('descriptors are closed in a started program', (t) => {
  const fd = openFile(temporaryFolder(t), O_RDONLY);
  const flags = /^flags:\s+0(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '';
  assert.ok((Number.parseInt(flags, 8) & 0o2000000) !== 0);
  closeFd(fd);
  assert.throws(() => closeFd(fd), { code: 'KERNEL_EBADF' });
});

test('creates device nodes and FIFOs', (t) => {
  const folder = temporaryFolder(t);
  mknod(`${folder}/whiteout`, S_IFCHR | 0o600, 0, 0);
  mknod(`${folder}/big`, S_IFCHR | 0o600, 0x123, 0x45678);
  mkfifo(`${folder}/fifo`, 0o600);
  assert.ok(lstatSync(`${folder}/whiteout`).isCharacterDevice());
  assert.equal(lstatSync(`${folder}/whiteout`).rdev, 0);
  // makedev(3): 12 bits of major and 20 of minor, interleaved.
  assert.equal(lstatSync(`${folder}/big`).rdev, (0x45600 << 12) + (0x123 << 8) + 0x78);
  assert.ok(lstatSync(`${folder}/fifo`).isFIFO());
  assert.throws(() => mkfifo(`${folder}/fifo`, 0o600), { code: 'KERNEL_EEXIST' });
});

test('times have nanoseconds, also before 1970, on files and on links', (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(`${folder}/file`, '');
  symlinkSync('file', `${folder}/link`);
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 30n) * 10n ** 9n, max: 2n ** 33n * 10n ** 9n }), (mtimeNs) => {
      setTimes(`${folder}/link`, { mtimeNs });
      assert.equal(lstatSync(`${folder}/link`, { bigint: true }).mtimeNs, mtimeNs);
    }),
    { numRuns: 100 },
  );
  setTimes(`${folder}/link`, { mtimeNs: 1_000_000_001n, atimeNs: 2_000_000_002n, follow: true });
  const times = statSync(`${folder}/file`, { bigint: true });
  assert.deepEqual([times.mtimeNs, times.atimeNs], [1_000_000_001n, 2_000_000_002n]);
});

test('a growing file is written out from 8 MiB on, and its content stays unchanged', (t) => {
  const path = `${temporaryFolder(t)}/file`;
  const mebibyte = Buffer.alloc(2 ** 20, 7);
  const fd = openFile(path, O_WRONLY | O_CREAT, 0o600);
  const writeOut = createWriteOut(fd);
  for (let count = 1; count <= 20; count += 1) {
    writeSync(fd, mebibyte);
    writeOut(count * 2 ** 20 - 5);
  }
  closeFd(fd);
  assert.ok(readFileSync(path).equals(Buffer.alloc(20 * 2 ** 20, 7)));
});

test('a file that cannot be written out early is not a failure', (t) => {
  const folder = temporaryFolder(t);
  mkfifo(`${folder}/fifo`, 0o600);
  const fd = openFile(`${folder}/fifo`, constants.O_RDWR | constants.O_NONBLOCK);
  createWriteOut(fd)(2 ** 24);
  closeFd(fd);
});

test('syncfs and syncfsOf', (t) => {
  const folder = temporaryFolder(t);
  const before = openDescriptors();
  syncfs(folder);
  writeFileSync(`${folder}/file`, '');
  syncfs(`${folder}/file`);
  const fd = openFile(folder, O_RDONLY);
  syncfsOf(fd);
  closeFd(fd);
  assert.throws(() => syncfsOf(fd), { code: 'KERNEL_EBADF' });
  assert.equal(openDescriptors(), before);
});
