import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as soon } from 'node:timers/promises';
import { createFairTurns } from './fair-turns.ts';

const limits = { atOnce: 8, atOnceOfParty: 3, reserved: 2 };

/** Asks questions that end when `end` is called with their names. */
function asker() {
  const turns = createFairTurns(limits);
  const begun: string[] = [];
  const ends = new Map<string, () => void>();
  return {
    begun,
    ask(name: string, ...parties: readonly string[]) {
      void turns.run(parties, () => {
        begun.push(name);
        const { promise, resolve } = Promise.withResolvers<undefined>();
        ends.set(name, () => resolve(undefined));
        return promise;
      });
    },
    async end(name: string) {
      ends.get(name)?.();
      await soon();
    },
  };
}

test('a user gets no additional places by asking from several namespaces', async () => {
  const { ask, begun } = asker();
  for (const namespace of ['n1', 'n2', 'n3', 'n4'])
    for (const at of [1, 2]) ask(`${namespace} ${at}`, 'user a', `namespace ${namespace}`);
  ask('other', 'user b', 'namespace n9');
  await soon();
  assert.deepEqual(begun, ['n1 1', 'n1 2', 'n2 1', 'other']);
});

test('the last places are for parties that have no place', async () => {
  const { ask, begun } = asker();
  for (const user of ['a', 'b', 'c']) for (const at of [1, 2, 3]) ask(`${user}${at}`, user);
  await soon();
  assert.equal(begun.length, 7, 'six places, and one of the last places for c, which has no place');
  ask('d1', 'd');
  ask('d2', 'd');
  await soon();
  assert.deepEqual(begun.slice(7), ['d1']);
});

test('a free place goes to the party with the fewest places', async () => {
  const { ask, begun, end } = asker();
  for (const user of ['a', 'b', 'c']) for (const at of [1, 2, 3, 4]) ask(`${user}${at}`, user);
  ask('d1', 'd');
  await soon();
  const running = new Set(begun);
  ask('e1', 'e');
  await soon();
  assert.ok(!running.has('e1') && !begun.includes('e1'), 'all places are taken');
  await end('a1');
  assert.equal(begun.at(-1), 'e1');
  for (let at = 0; at < 20; at++) for (const name of [...begun]) await end(name);
  assert.equal(begun.length, 14, 'every question had its turn');
});

test('a question that fails frees its place', async () => {
  const turns = createFairTurns({ ...limits, atOnceOfParty: 1 });
  await assert.rejects(turns.run(['a'], () => Promise.reject(new Error('failed'))));
  assert.equal(await turns.run(['a'], () => Promise.resolve(7)), 7);
});

test('thousands of questions that end at the same time do not block other work', async () => {
  const turns = createFairTurns({ atOnce: 64, atOnceOfParty: 16, reserved: 16 });
  const held = Promise.withResolvers<undefined>();
  const all: Promise<unknown>[] = [];
  for (let namespace = 0; namespace < 50; namespace++)
    for (let at = 0; at < 200; at++)
      all.push(turns.run(['user a', `namespace n${namespace}`], () => held.promise));
  let ended = 0;
  for (const one of all) void one.then(() => (ended += 1));
  held.resolve(undefined);
  await soon();
  await soon();
  assert.ok(ended < 2000, `${ended} questions ended before other work had its turn`);
  await Promise.all(all);
  assert.equal(ended, 10_000);
});
