import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  PortcullisError,
  asPortcullisError,
  errorFromJson,
  errorToJson,
  fileReason,
  isPortcullisError,
  reasonOf,
} from './index.ts';
import type { Failure } from './index.ts';

const failure: Failure = {
  code: 'STORAGE_BUSY',
  kind: 'unavailable',
  attempted: 'write to database',
  on: '/var/lib/state.db',
  why: 'database is locked',
  fix: 'try again',
};

describe('a failure', () => {
  it('is one sentence: attempted, on, why, fix, code', () => {
    assert.equal(
      new PortcullisError(failure).message,
      'write to database /var/lib/state.db: database is locked; try again [STORAGE_BUSY]',
    );
    assert.equal(
      new PortcullisError({ ...failure, on: '', prefix: 'RegistryUnavailable' }).message,
      'RegistryUnavailable: write to database: database is locked; try again [STORAGE_BUSY]',
    );
  });

  it('has its fix on a line of its own after a list of problems', () => {
    assert.equal(
      new PortcullisError({ ...failure, why: '2 problems:\na\nb\n' }).message,
      'write to database /var/lib/state.db: 2 problems:\na\nb\ntry again [STORAGE_BUSY]',
    );
  });

  it('keeps its code, kind and cause', () => {
    const cause = new Error('EIO');
    const error = new PortcullisError({ ...failure, cause });
    assert.deepEqual(
      [error.code, error.kind, error.name, error.cause],
      ['STORAGE_BUSY', 'unavailable', 'PortcullisError', cause],
    );
    assert.ok(!('cause' in new PortcullisError(failure)));
  });

  it('is sent to a Worker or over a wire without its cause', () => {
    const error = new PortcullisError({
      ...failure,
      prefix: 'P',
      details: { rule: 'a:1' },
      cause: new Error('inner'),
    });
    const crossed = errorFromJson(structuredClone(errorToJson(error)));
    assert.ok(isPortcullisError(crossed));
    assert.equal(crossed.message, error.message);
    assert.deepEqual(crossed.failure, { ...failure, prefix: 'P', details: { rule: 'a:1' } });
    assert.equal(crossed.cause, undefined);
  });

  it('is recognised when another bundle created it', async () => {
    // With a query, the loader evaluates the module a second time, like a second bundle.
    const source = './portcullis-error.ts?second';
    const other = (await import(source)) as { PortcullisError: typeof PortcullisError };
    const theirs = new other.PortcullisError(failure);
    assert.ok(!(theirs instanceof PortcullisError));
    assert.ok(isPortcullisError(theirs));
    assert.equal(asPortcullisError(theirs, failure), theirs);
  });
});

describe('anything thrown', () => {
  it('has a reason', () => {
    for (const [thrown, reason] of [
      [new PortcullisError(failure), 'database is locked'],
      [new TypeError('no'), 'no'],
      ['text', 'text'],
      [undefined, 'undefined'],
      [null, 'null'],
    ] as const) {
      assert.equal(reasonOf(thrown), reason);
      assert.equal(isPortcullisError(thrown), thrown instanceof PortcullisError);
    }
  });

  it('has a reason in words only if it is about its own file', () => {
    const missing = Object.assign(new Error("ENOENT: no such file or directory, open '/a'"), {
      code: 'ENOENT',
      path: '/a',
    });
    assert.equal(fileReason(missing, '/a'), 'it does not exist');
    assert.equal(fileReason(missing, '/b'), 'its folder does not exist');
    assert.equal(fileReason(missing, '/c/b'), missing.message);
    const temporary = Object.assign(new Error('ENOTDIR: x'), { code: 'ENOTDIR', path: '/f/.b.tmp' });
    assert.equal(fileReason(temporary, '/f/b'), 'a part of its path is not a folder');
    assert.equal(fileReason(Object.assign(new Error('EIO: x'), { code: 'EIO', path: '/a' }), '/a'), 'EIO: x');
    assert.equal(fileReason(new Error('it is too large'), '/a'), 'it is too large');
    assert.equal(fileReason(new PortcullisError(failure), '/a'), failure.why);
  });

  it('becomes a failure of the given kind, unless it is one', () => {
    const { why: _why, ...rest } = failure;
    const inner = new Error('disk on fire');
    const wrapped = asPortcullisError(inner, rest);
    assert.deepEqual(
      [wrapped.failure.why, wrapped.cause, wrapped.code],
      ['disk on fire', inner, 'STORAGE_BUSY'],
    );
    assert.equal(asPortcullisError(wrapped, { ...rest, code: 'OTHER' }), wrapped);
  });
});
