import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hasManyValues } from './index.ts';

test('the values of a text are counted, and not the characters of its strings', () => {
  const text = JSON.stringify({ a: [1, {}, []], b: '[{,,,\\",,,[{' });
  assert.equal(hasManyValues(text, 8), false);
  assert.equal(hasManyValues(text, 6), true);
  assert.equal(hasManyValues('[,,,,', 5), true);
  assert.equal(hasManyValues('"[,,,,', 1), false);
});
