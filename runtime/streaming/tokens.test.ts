import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTokens } from './tokens.ts';

test('a token is accepted once, within its time limit, and has 128 bits', () => {
  let now = 0;
  const tokens = createTokens<string>(() => now);
  const token = tokens.mint('a') ?? assert.fail();
  assert.equal(Buffer.from(token, 'base64url').length, 16);
  assert.deepEqual(tokens.waiting(), ['a']);
  assert.equal(tokens.take(token.slice(0, -1)), undefined);
  assert.equal(tokens.take(token), 'a');
  assert.equal(tokens.take(token), undefined);
  const late = tokens.mint('b') ?? assert.fail();
  now = 59_999;
  const other = tokens.mint('c') ?? assert.fail();
  now = 60_000;
  assert.equal(tokens.take(late), undefined);
  assert.equal(tokens.take(other), 'c');
});

test('a limited number of tokens wait, and expired tokens free their places', () => {
  let now = 0;
  const tokens = createTokens<number>(() => now, { most: 3, lifetimeMs: 10 });
  const minted = [1, 2, 3].map((value) => tokens.mint(value));
  assert.equal(new Set(minted).size, 3);
  assert.equal(tokens.mint(4), undefined);
  tokens.take(minted[1] ?? '');
  assert.notEqual(tokens.mint(5), undefined);
  now = 10;
  assert.deepEqual(tokens.waiting(), []);
  assert.notEqual(tokens.mint(6), undefined);
});
