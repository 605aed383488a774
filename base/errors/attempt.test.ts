import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { attempt } from './index.ts';

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
