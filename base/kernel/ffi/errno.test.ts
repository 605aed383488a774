import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import fc from 'fast-check';
import { PortcullisError } from '../../errors/index.ts';
import { cString, errnoName, isErrno, kernelError } from './errno.ts';
import { mount, openFile } from '../index.ts';

test('an error names call, subject, errno and remedy', () => {
  assert.throws(
    () => openFile('/nowhere/at/all', 0),
    (error: unknown) => {
      assert.ok(error instanceof PortcullisError);
      assert.equal(error.code, 'KERNEL_ENOENT');
      assert.equal(error.kind, 'not-found');
      assert.deepEqual(error.failure.details, { errno: 'ENOENT', call: 'open' });
      assert.match(error.message, /open \/nowhere\/at\/all: .+ \(ENOENT\); .+ \[KERNEL_ENOENT\]/);
      return true;
    },
  );
});

test('if two names share a number, the name of the manual pages is reported', () => {
  assert.equal(errnoName(constants.errno.EAGAIN), 'EAGAIN');
  assert.equal(errnoName(95), 'EOPNOTSUPP');
  assert.equal(errnoName(117), 'EUCLEAN');
  assert.equal(errnoName(4000), 'ERRNO_4000');
});

test('an errno that Node has no name for gets the same error by its name and by its number', () => {
  for (const [name, number] of [
    ['EUCLEAN', 117],
    ['ESHUTDOWN', 108],
  ] as const) {
    const { message } = kernelError(name, 'mkdir', '/a');
    assert.equal(message, kernelError(number, 'mkdir', '/a').message);
    assert.ok(!message.includes(`${name} (${name})`), message);
  }
});

test('every errno becomes an error whose code isErrno recognises', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), (errno) => {
      const error = kernelError(errno, 'call', 'subject');
      assert.ok(isErrno(error, errnoName(errno)));
      assert.ok(!isErrno(error, 'EOTHER'));
    }),
  );
});

test('a limit of the kernel that has the errno of a full disk gets its own reason and remedy', () => {
  for (const [call, fix] of [
    ['mount', /^raise fs\.mount-max/u],
    ['move_mount', /^raise fs\.mount-max/u],
    ['keyctl', /^raise kernel\.keys\./u],
    ['unshare', /^raise the limits user\.max_/u],
  ] as const)
    for (const errno of ['ENOSPC', 'EDQUOT']) {
      const { failure } = kernelError(errno, call, 'subject');
      assert.equal(failure.why, `a limit of the kernel is reached (${errno})`);
      assert.match(failure.fix, fix);
      assert.equal(failure.details?.['limit'], true);
    }
  assert.match(kernelError('ENOSPC', 'write', 'subject').failure.fix, /^free space/u);
  assert.doesNotMatch(kernelError('EPERM', 'mount', 'subject').failure.fix, /mount-max/u);
});

test('a path with a NUL byte is refused, because it would be truncated', () => {
  assert.throws(() => cString('/etc/passwd\0.png', 'open'), { code: 'KERNEL_EINVAL' });
  assert.throws(() => mount('none', '/tmp\0x', 'tmpfs', 0), { code: 'KERNEL_EINVAL' });
});

test('a program that cannot be started because a limit of processes is reached gets its own reason and remedy', () => {
  const { failure } = kernelError('EAGAIN', 'posix_spawn', '/bin/true');
  assert.equal(failure.why, 'a limit of processes is reached (EAGAIN)');
  assert.match(failure.fix, /TasksMax/u);
  assert.match(kernelError('EAGAIN', 'read', '').failure.fix, /manual page/u);
});
