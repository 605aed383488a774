import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listedOnce } from './listed-once.ts';

test('each chain and each set is read once for one question', () => {
  const read: string[] = [];
  const listing = (what: string): [] => {
    read.push(what);
    return [];
  };
  const lists = listedOnce({
    listedRules: ({ family, name }, chain) => listing(`${family} ${name} chain ${chain}`),
    listedElements: ({ family, name }, set) => listing(`${family} ${name} set ${set}`),
  });
  for (let times = 0; times < 2; times += 1)
    for (const family of ['inet', 'bridge'] as const)
      for (const name of ['one', 'two']) {
        lists.listedRules({ family, name: 't' }, name);
        lists.listedElements({ family, name: 't' }, name);
      }
  assert.equal(read.length, 8);
  assert.equal(new Set(read).size, 8);
});
