import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createQuestionLimits } from './question-limits.ts';

const never = (): void => assert.fail('no question gives up its place');

test('a client may not have more questions in progress than its limit', () => {
  const limits = createQuestionLimits({ most: 10, mostOfAsker: 2 });
  limits.began('a', never);
  assert.equal(limits.isReached('a'), false);
  const ended = limits.began('a', never);
  assert.equal(limits.isReached('a'), true);
  assert.equal(limits.isReached('b'), false);
  ended();
  ended();
  assert.equal(limits.isReached('a'), false);
});

test('all clients together may not have more questions in progress than the limit', () => {
  const limits = createQuestionLimits({ most: 2, mostOfAsker: 2 });
  limits.began('a', never);
  const ended = limits.began('b', never);
  assert.equal(limits.isReached('c'), true);
  ended();
  assert.equal(limits.isReached('c'), false);
});

test('at the total limit, the oldest question of the client with the most gives up its place', () => {
  const limits = createQuestionLimits({ most: 6, mostOfAsker: 4 });
  const gone: string[] = [];
  const ask = (asker: string, question: string): void => void limits.began(asker, () => gone.push(question));
  for (const question of ['a1', 'a2', 'a3', 'a4']) ask('a', question);
  for (const question of ['b1', 'b2']) ask('b', question);
  assert.equal(limits.isReached('b'), false);
  ask('c', 'c1');
  assert.deepEqual(gone, ['a1']);
  ask('c', 'c2');
  assert.deepEqual(gone, ['a1', 'a2']);
  assert.deepEqual(
    ['a', 'b', 'c'].map((asker) => limits.isReached(asker)),
    [true, true, true],
    'equal shares',
  );
  assert.equal(limits.isReached('d'), false);
});
