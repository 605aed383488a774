import '../../test/fixtures/private-namespaces.ts';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PortcullisError } from '../../base/errors/index.ts';
import { asFailure, toStatus } from './status.ts';

function fails(code: string): Error {
  return Object.assign(new Error(`${code}: said, write '/a/file'`), {
    code,
    syscall: 'write',
    path: '/a/file',
  });
}

for (const [code, expected, kind] of [
  ['ENOSPC', 'STORAGE_DISK_FULL', 'exhausted'],
  ['EIO', 'STORAGE_IO', 'unavailable'],
  ['EROFS', 'STORAGE_READ_ONLY', 'unavailable'],
  ['EMFILE', 'KERNEL_EMFILE', 'exhausted'],
  ['ENOMEM', 'KERNEL_ENOMEM', 'exhausted'],
] as const)
  test(`a file operation that fails with ${code} is reported as a shortage of the node: ${expected}`, () => {
    const failure = asFailure(fails(code), 'StartContainer');
    assert.deepEqual([failure.code, failure.kind], [expected, kind]);
    assert.match(failure.message, /write.*\/a\/file/);
  });

test('a real full disk of the node is recognized', () => {
  try {
    writeFileSync('/dev/full', 'x');
    assert.fail('it was written');
  } catch (thrown) {
    assert.equal(asFailure(thrown, 'CreateContainer').code, 'STORAGE_DISK_FULL');
  }
});

test('a file system that is damaged on the disk is reported as such, and not as a bug', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-damaged-'));
  const [image, place] = [join(folder, 'image'), join(folder, 'place')];
  writeFileSync(image, '');
  truncateSync(image, 8 * 1024 * 1024);
  mkdirSync(place);
  execFileSync('mkfs.ext4', ['-q', image]);
  // The entry of this folder stays, and its inode does not.
  execFileSync('debugfs', ['-w', '-R', 'mkdir damaged', image], { stdio: 'ignore' });
  execFileSync('debugfs', ['-w', '-R', 'clri /damaged', image], { stdio: 'ignore' });
  execFileSync('mount', ['-o', 'loop', image, place]);
  t.after(() => {
    execFileSync('umount', [place]);
    rmSync(folder, { recursive: true });
  });
  try {
    mkdirSync(join(place, 'damaged/new'));
    assert.fail('it was made');
  } catch (thrown) {
    const failure = asFailure(thrown, 'CreateContainer');
    assert.deepEqual([failure.code, failure.kind], ['STORAGE_IO', 'unavailable']);
    assert.match(failure.message, /EUCLEAN: structure needs cleaning, mkdir .*check the disk/);
  }
});

test('a failure unrelated to the request stays an internal error, and is never reported as "not found"', () => {
  for (const thrown of [fails('ENOENT'), fails('EINVAL'), new TypeError('x'), 'text'])
    assert.equal(asFailure(thrown, 'StopContainer').code, 'CRI_INTERNAL');
  const ours = new PortcullisError({
    code: 'A',
    kind: 'invalid',
    attempted: 'a',
    on: 'b',
    why: 'c',
    fix: 'd',
  });
  assert.equal(asFailure(ours, 'Status'), ours);
});

test('a message contains nothing that a terminal acts on, whatever the request names', () => {
  const error = new PortcullisError({
    code: 'A',
    kind: 'invalid',
    attempted: 'start container',
    on: 'größe\u001b[2J\u009b1m\r\u0007\u202e',
    why: '2 problems:\n\ta\n',
    fix: 'd',
  });
  assert.equal(
    toStatus(error, 'StartContainer', '1').details,
    'start container größe\\u001b[2J\\u009b1m\\u000d\\u0007\\u202e: 2 problems:\n\ta\nd [A]',
  );
});
