import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createQuestionLimits } from './question-limits.ts';

test('a client may not have more questions in progress than its limit', () => {
  const limits = createQuestionLimits({ most: 10, mostOfAsker: 2 });
  limits.began('a');
  assert.equal(limits.isReached('a'), false);
  limits.began('a');
  assert.equal(limits.isReached('a'), true);
  assert.equal(limits.isReached('b'), false);
  limits.ended('a');
  assert.equal(limits.isReached('a'), false);
});

test('all clients together may not have more questions in progress than the limit', () => {
  const limits = createQuestionLimits({ most: 2, mostOfAsker: 2 });
  limits.began('a');
  limits.began('b');
  assert.equal(limits.isReached('c'), true);
  limits.ended('b');
  assert.equal(limits.isReached('c'), false);
});
