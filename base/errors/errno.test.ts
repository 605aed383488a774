import assert from 'node:assert/strict';
import { constants } from 'node:os';
import { test } from 'node:test';
import { getSystemErrorName } from 'node:util';
import {
  PortcullisError,
  errnoOf,
  leavesUnknown,
  meaningOfErrno,
  meansDiskFull,
  meansGone,
  meansNoSuchPath,
  meansShortage,
  reasonOf,
} from './index.ts';

/** Returns the failure in each form in which it reaches a caller. */
const formsOf = (errno: string): readonly Error[] => [
  Object.assign(new Error(`${errno}: simulated`), { code: errno, syscall: 'open' }),
  new PortcullisError({
    ...{ code: `KERNEL_${errno}`, kind: 'internal', attempted: 'open', on: '/f', why: errno, fix: 'see' },
    details: { errno },
  }),
];

const questions = { meansGone, meansNoSuchPath, meansShortage, meansDiskFull, leavesUnknown };
/** The answers that are yes; all others are no. */
const table: Readonly<Record<string, readonly (keyof typeof questions)[]>> = {
  ENOENT: ['meansGone', 'meansNoSuchPath'],
  ESRCH: ['meansGone', 'meansNoSuchPath'],
  ENOTDIR: ['meansNoSuchPath'],
  EMFILE: ['meansShortage', 'leavesUnknown'],
  ENFILE: ['meansShortage', 'leavesUnknown'],
  ENOMEM: ['meansShortage', 'leavesUnknown'],
  ENOBUFS: ['meansShortage', 'leavesUnknown'],
  EAGAIN: ['leavesUnknown'],
  EINTR: ['leavesUnknown'],
  EIO: ['leavesUnknown'],
  EREMOTEIO: ['leavesUnknown'],
  ESTALE: ['leavesUnknown'],
  ETIMEDOUT: ['leavesUnknown'],
  ENOSPC: ['meansDiskFull'],
  EDQUOT: ['meansDiskFull'],
  EROFS: [],
};

for (const errno of new Set([...Object.keys(table), ...Object.keys(constants.errno)])) {
  test(`${errno} means ${table[errno]?.join(', ') ?? 'nothing without its call'}`, () => {
    for (const failure of formsOf(errno)) {
      assert.equal(errnoOf(failure), errno);
      const yes = Object.entries(questions).flatMap(([name, ask]) => (ask(failure) ? [name] : []));
      assert.deepEqual(yes, table[errno] ?? []);
    }
  });
}

test('a full quota, and a lost file of a server, have meanings although Node has no names for them', () => {
  /** The error that Node's file calls throw for an errno. */
  const thrownBy = (errno: 'EDQUOT' | 'ESTALE'): Error => {
    const code = getSystemErrorName(-constants.errno[errno]);
    return Object.assign(new Error(`${code}: ${code}, open '/f'`), { code, syscall: 'open', path: '/f' });
  };
  assert.equal(errnoOf(thrownBy('EDQUOT')), 'EDQUOT');
  assert.equal(meansDiskFull(thrownBy('EDQUOT')), true);
  assert.equal(leavesUnknown(thrownBy('ESTALE')), true);
  assert.equal(reasonOf(thrownBy('EDQUOT')), "EDQUOT: disk quota exceeded, open '/f'");
});

test('a limit of the kernel is no full disk, although its errno is the same', () => {
  const failed = (properties: object): Error =>
    Object.assign(new Error('simulated'), { code: 'ENOSPC', ...properties });
  assert.equal(meansDiskFull(failed({ syscall: 'mkdir', path: '/var/lib/x' })), true);
  assert.equal(meansDiskFull(failed({ syscall: 'watch', path: '/var/lib/x' })), false);
  assert.equal(meansDiskFull(failed({ syscall: 'mkdir', path: '/sys/fs/cgroup/pod1' })), false);
  const [, kernel] = formsOf('ENOSPC');
  assert.ok(kernel instanceof PortcullisError);
  const details = { errno: 'ENOSPC', limit: true };
  assert.equal(meansDiskFull(new PortcullisError({ ...kernel.failure, details })), false);
});

test('no errno means both that an object is gone and that nothing is known about it', () => {
  for (const errno of Object.keys(constants.errno))
    for (const failure of formsOf(errno)) assert.ok(!(meansNoSuchPath(failure) && leavesUnknown(failure)));
});

test('a failure without an errno has none of the meanings', () => {
  const coded = {
    code: 'IMAGES_NOT_FOUND',
    kind: 'not-found',
    attempted: 'a',
    on: '',
    why: '',
    fix: '',
  } as const;
  for (const thrown of [new Error('ENOENT'), new PortcullisError(coded), 'ENOENT', undefined, null, 2]) {
    assert.equal(errnoOf(thrown), undefined);
    assert.ok(Object.values(questions).every((ask) => !ask(thrown)));
  }
  assert.equal(meaningOfErrno('constructor'), undefined);
});
