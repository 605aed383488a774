import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createStandings } from './collection-states.ts';
import type { StoredFile } from './store.ts';

const file = (version: number): StoredFile => ({
  ...{ role: 'root', version, bytes: Buffer.from(String(version)), sha256: '', at: 0 },
});
const filesOf = (version: number): ReadonlyMap<string, StoredFile> => new Map([['root', file(version)]]);

/** A store whose reads end when the test says so. */
function slowStore() {
  const reads: ((files: StoredFile[]) => void)[] = [];
  return {
    reads,
    currentFiles: () => new Promise<StoredFile[]>((resolve) => void reads.push(resolve)),
    isWithheld: () => Promise.resolve(false),
  };
}

test(
  'a read that began before a publish does not replace what was published',
  { timeout: 5000 },
  async () => {
    const store = slowStore();
    const standings = createStandings(store);
    const early = standings.load('a', 'tuf');
    await setImmediate();
    standings.remember('a', 'tuf', filesOf(2), false);
    store.reads[0]?.([file(1)]);
    await early;
    assert.equal((await standings.load('a', 'tuf')).files.get('root')?.version, 2);
  },
);

test(
  'a read that began before a collection was removed does not bring it back',
  { timeout: 5000 },
  async () => {
    const store = slowStore();
    const standings = createStandings(store);
    const early = standings.load('a', 'tuf');
    await setImmediate();
    standings.forget('a');
    store.reads[0]?.([file(1)]);
    await early;
    const late = standings.load('a', 'tuf');
    await setImmediate();
    store.reads[1]?.([]);
    assert.equal((await late).files.size, 0);
  },
);

test('reads of one collection at the same time read the store once', { timeout: 5000 }, async () => {
  const store = slowStore();
  const standings = createStandings(store);
  const all = Array.from({ length: 100 }, () => standings.load('a', 'notary'));
  await setImmediate();
  store.reads[0]?.([file(1)]);
  for (const one of await Promise.all(all)) assert.equal(one.files.get('root')?.version, 1);
  assert.equal(store.reads.length, 1);
});

test('collections are read from the store one at a time', { timeout: 5000 }, async () => {
  const store = slowStore();
  const standings = createStandings(store);
  const all = ['a', 'b', 'c'].map((gun) => standings.load(gun, 'tuf'));
  for (let count = 0; count < all.length; count += 1) {
    await setImmediate();
    assert.equal(store.reads.length, count + 1);
    store.reads[count]?.([file(count)]);
    await all[count];
  }
});

test('a read that fails is not remembered', { timeout: 5000 }, async () => {
  let failures = 1;
  const standings = createStandings({
    currentFiles: () =>
      failures-- > 0 ? Promise.reject(new Error('the disk fails')) : Promise.resolve([file(1)]),
    isWithheld: () => Promise.resolve(false),
  });
  await assert.rejects(standings.load('a', 'tuf'), /the disk fails/u);
  assert.equal((await standings.load('a', 'tuf')).files.size, 1);
});

test('the expiry of a large snapshot is known without a read of the rest', () => {
  const standings = createStandings(slowStore());
  const expires = '2040-01-01T00:00:00Z';
  // The number is no JSON: a read of more than the strings fails.
  const bytes = Buffer.from(`{"signed":{"padding":["${'a'.repeat(100_000)}",01],"expires":"${expires}"}}`);
  const files = new Map([['snapshot', { ...file(1), role: 'snapshot', bytes }]]);
  assert.equal(standings.remember('a', 'tuf', files, false).freshUntil, Date.parse(expires));
});
