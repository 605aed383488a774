import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMemory } from './remembered.ts';

/** Returns how many of these questions, which have about 1,000 bytes each, were computed. */
function computed(memory: ReturnType<typeof createMemory<string>>, questions: readonly string[]): number {
  let count = 0;
  for (const question of questions)
    memory([question, Buffer.alloc(1000)], () => {
      count += 1;
      return question;
    });
  return count;
}

test('results are kept up to a total number of bytes of their questions', () => {
  assert.equal(computed(createMemory(100, 2500), ['a', 'b', 'c', 'a']), 4);
  assert.equal(computed(createMemory(100, 3500), ['a', 'b', 'c', 'a']), 3);
});

test('a question larger than the whole memory is answered each time', () => {
  assert.equal(computed(createMemory(100, 500), ['a', 'a']), 2);
});

test('small results are limited by their number, however large their questions are', () => {
  assert.equal(computed(createMemory(2), ['a', 'b', 'a']), 2);
  assert.equal(computed(createMemory(2), ['a', 'b', 'c', 'a']), 4);
});
