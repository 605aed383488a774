import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attempt, codeIs, errnoIs, failure, orThrow, tolerate } from './index.ts';

describe('attempt', () => {
  it('returns the result of a function', () => {
    assert.equal(
      attempt(() => 0),
      0,
    );
  });

  it('returns undefined for a function that throws', () => {
    assert.equal(
      attempt(() => {
        throw new Error('refused');
      }),
      undefined,
    );
  });
});

const refusal = (): never => {
  throw failure('TEST_REFUSED', 'invalid', 'test', 'this', 'it refuses', 'nothing');
};
const isRefusal = codeIs('TEST_REFUSED');
const missing = (): never => {
  throw Object.assign(new Error('missing'), { code: 'ENOENT' });
};

describe('tolerate', () => {
  it('returns the result of a function', () => {
    assert.equal(
      tolerate(isRefusal, () => 0),
      0,
    );
  });

  it('returns undefined for a tolerated error', () => {
    assert.equal(tolerate(isRefusal, refusal), undefined);
    assert.equal(tolerate(errnoIs('EEXIST', 'ENOENT'), missing), undefined);
  });

  it('throws every other error', () => {
    assert.throws(() => tolerate(isRefusal, missing), /missing/u);
    assert.throws(() => tolerate(errnoIs('EEXIST'), missing), /missing/u);
    assert.throws(() => tolerate(errnoIs('ENOENT'), refusal), isRefusal);
  });

  it('does the same for promises', async () => {
    assert.equal(await tolerate(isRefusal, async () => Promise.resolve(0)), 0);
    assert.equal(await tolerate(isRefusal, async () => Promise.resolve().then(refusal)), undefined);
    await assert.rejects(
      tolerate(isRefusal, async () => Promise.resolve().then(missing)),
      /missing/u,
    );
  });
});

describe('orThrow', () => {
  const wrapped = (thrown: unknown): Error => new Error('wrapped', { cause: thrown });

  it('returns the result of a function', async () => {
    assert.equal(
      orThrow(() => 0, wrapped),
      0,
    );
    assert.equal(await orThrow(() => Promise.resolve(0), wrapped), 0);
  });

  it('throws the other error', async () => {
    assert.throws(
      () => orThrow(missing, wrapped),
      (thrown: Error) => thrown.message === 'wrapped' && (thrown.cause as Error).message === 'missing',
    );
    await assert.rejects(
      orThrow(() => Promise.resolve().then(missing), wrapped),
      (thrown: Error) => thrown.message === 'wrapped' && (thrown.cause as Error).message === 'missing',
    );
  });
});
