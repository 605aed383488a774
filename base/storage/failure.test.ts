import assert from 'node:assert/strict';
import { test } from 'node:test';
import { storageFailure } from './failure.ts';

const systemError = (code: string, path: string): Error =>
  Object.assign(new Error(`${code}: text of the system, mkdir '${path}'`), {
    code,
    path,
    syscall: 'mkdir',
  });

test('a failure gives the reason in words, without a system call and the name of a temporary file', () => {
  const { code, failure } = storageFailure(systemError('EACCES', '/etc/n/.4a-0b'), 'write', '/etc/n/a.conf');
  assert.deepEqual(
    [code, failure.on, failure.why],
    ['STORAGE_NO_ACCESS', '/etc/n/a.conf', 'this user has no permission'],
  );
  assert.equal(storageFailure(systemError('ENOSPC', '/f'), 'write', '/f').failure.why, 'the disk is full');
});

test('a failure of a file elsewhere names that file', () => {
  const { failure } = storageFailure(systemError('EACCES', '/other/b'), 'write', '/etc/n/a.conf');
  assert.match(failure.why, /\/other\/b/u);
});
