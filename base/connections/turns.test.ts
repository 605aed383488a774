import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createTurns } from './turns.ts';

test('a peer with many requests delays another peer by only one piece of work', async () => {
  const turns = createTurns();
  const begun: string[] = [];
  const work = async (peer: string): Promise<void> => {
    await turns.take(peer);
    begun.push(peer);
  };
  const all = Array.from({ length: 200 }, () => work('flood'));
  all.push(work('a'), work('b'), work('a'));
  await Promise.all(all);
  assert.equal(begun.length, 203);
  assert.ok(
    begun.indexOf('a') <= 3 && begun.indexOf('b') <= 4 && begun.lastIndexOf('a') <= 8,
    begun.slice(0, 12).join(' '),
  );
});

test('the work of a single peer begins at once, and timers run in between', async () => {
  const turns = createTurns();
  await turns.take('a');
  let fired = false;
  setTimeout(() => (fired = true), 1);
  let begun = 0;
  let before = 0;
  await Promise.all(
    Array.from({ length: 20_000 }, async () => {
      await turns.take('a');
      begun += 1;
      if (!fired) before = begun;
    }),
  );
  assert.equal(begun, 20_000);
  assert.ok(before < 20_000);
});
