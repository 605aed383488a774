import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
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
