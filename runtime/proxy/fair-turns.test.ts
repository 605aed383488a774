import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { createFairTurns } from './fair-turns.ts';

it('gives another owner a turn while the works of one owner do not end', async () => {
  const turns = createFairTurns(16, 4);
  const { promise, resolve } = Promise.withResolvers<void>();
  const begun = new Map<string, number>();
  const work = (owner: string) => (): Promise<void> => {
    begun.set(owner, (begun.get(owner) ?? 0) + 1);
    return owner === 'quick' ? Promise.resolve() : promise;
  };
  const slow = Array.from({ length: 100 }, () => turns.run('slow', undefined, work('slow')));
  await turns.run('quick', undefined, work('quick'));
  assert.deepEqual([begun.get('slow'), begun.get('quick')], [4, 1]);
  const others = ['b', 'c', 'd', 'e'].flatMap((owner) =>
    Array.from({ length: 4 }, () => turns.run(owner, undefined, work(owner))),
  );
  await turn();
  assert.equal(
    [...begun.values()].reduce((sum, count) => sum + count, 0),
    17,
    '16 at a time, after the quick one',
  );
  resolve();
  await Promise.all([...slow, ...others]);
  assert.equal(begun.get('slow'), 100);
});

it('ends the wait of an aborted work, and keeps no turn', async () => {
  const turns = createFairTurns(1, 1);
  const { promise, resolve } = Promise.withResolvers<void>();
  const running = turns.run('a', undefined, () => promise);
  for (const owner of ['a', 'b']) {
    const cancel = new AbortController();
    const waiting = turns.run(owner, cancel.signal, () => assert.fail('it began'));
    cancel.abort(new Error('cancelled'));
    await assert.rejects(waiting, /cancelled/);
  }
  const refused = turns.run('b', undefined, () => Promise.reject(new Error('refused')));
  resolve();
  await assert.rejects(refused, /refused/);
  await running;
  await turns.run('a', undefined, () => Promise.resolve());
});
