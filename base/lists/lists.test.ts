import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { append, largest, smallest } from './index.ts';

/** More than any stack can hold. */
const many = Array.from({ length: 1_000_000 }, (_, index) => index);

test('any number of items can be appended to a list', () => {
  const list = [-1];
  append(list, many);
  assert.equal(list.length, many.length + 1);
  assert.deepEqual([list[0], list[1], list.at(-1)], [-1, 0, many.length - 1]);
});

test('a list is appended to itself once', () => {
  const list = [1, 2];
  append(list, list);
  assert.deepEqual(list, [1, 2, 1, 2]);
});

test('largest and smallest equal Math.max and Math.min, for any number of values', () => {
  fc.assert(
    fc.property(fc.array(fc.double()), (numbers) => {
      assert.equal(largest(numbers), Math.max(...numbers));
      // A set stores -0 as 0.
      const set = new Set(numbers);
      assert.equal(smallest(set), Math.min(...set));
    }),
  );
  assert.deepEqual([largest(many), smallest(many)], [many.length - 1, 0]);
});
