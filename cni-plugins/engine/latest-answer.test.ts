import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLatestAnswer } from './latest-answer.ts';

/** A source that answers when the test says so. */
function asked(times: { keptMs: number; patienceMs: number }): {
  about: (of: string) => Promise<string | undefined>;
  say: ((word: string) => void)[];
} {
  const say: ((word: string) => void)[] = [];
  const words = createLatestAnswer(() => new Promise<string>((resolve) => say.push(resolve)), times);
  return { about: async (of) => (await words.about(of, of))?.word, say };
}

test('an answer is valid for a while, and is requested again afterwards', async () => {
  const { about, say } = asked({ keptMs: 60_000, patienceMs: 60_000 });
  const both = Promise.all([about('a'), about('a')]);
  say[0]?.('well');
  assert.deepEqual([await both, await about('a'), say.length], [['well', 'well'], 'well', 1]);
  const other = about('b');
  say[1]?.('other');
  assert.equal(await other, 'other', 'an answer about something else does not count');
});

test('a source that hangs is asked once; its last answer stays valid until the next, and without one there is no answer', async () => {
  const { about, say } = asked({ keptMs: 0, patienceMs: 30 });
  assert.deepEqual([await about('a'), await about('a'), say.length], [undefined, undefined, 1]);
  say[0]?.('well');
  assert.equal(await about('a'), 'well');
  await new Promise((resolve) => setTimeout(resolve, 5));
  assert.deepEqual([await about('a'), await about('a'), say.length], ['well', 'well', 2]);
  say[1]?.('late');
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await about('a'), 'late');
});
