import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SetStore, StoredSet } from '../../followed-files/stored-set.ts';
import type { ClusterTable } from './cluster-table.ts';
import { openSavedState } from './saved-state.ts';

/** A table that knows these parts only. */
const tableOf = (revisions: Readonly<Record<string, number>>): Pick<ClusterTable, 'saved'> => ({
  saved: (part) => {
    const revision = revisions[part];
    return revision === undefined ? undefined : { value: {} as never, revision };
  },
});

/** A disk that is slow: a set that comes while another one is written is not taken, as in stored-set.ts. */
function slowDisk() {
  const disk = { isBusy: true, taken: 0 };
  let [wanted, written] = ['', ''];
  const open = <T>(): SetStore<T> => ({
    last: () => undefined,
    keep({ files }: StoredSet<T>) {
      wanted = files[0]?.stamp ?? '';
      if (disk.isBusy || wanted === written) return;
      written = wanted;
      disk.taken += 1;
    },
    isKept: () => wanted === written,
  });
  return { disk, open };
}

test('a policy that could not be stored is stored later without another change', async () => {
  const { disk, open } = slowDisk();
  const state = openSavedState({
    settings: { storedAt: '/nowhere', place: {} },
    open,
    log: { error: () => undefined },
  });
  const table = tableOf({ policies: 1 });
  await state.keepPolicies(table);
  assert.equal(disk.taken, 0);
  disk.isBusy = false;
  await state.keepPolicies(table);
  assert.equal(disk.taken, 1);
});

test('a policy waits for the previous write', async () => {
  const { disk, open } = slowDisk();
  const state = openSavedState({
    settings: { storedAt: '/nowhere', place: {} },
    open,
    log: { error: () => undefined },
  });
  const table = tableOf({ policies: 1 });
  setTimeout(() => (disk.isBusy = false), 30);
  await state.keepPolicies(table);
  assert.equal(disk.taken, 1, 'it is stored before it is in force');
});

test('policies and the labels of own pods are stored before other collections have arrived', async () => {
  const { disk, open } = slowDisk();
  disk.isBusy = false;
  const paths: string[] = [];
  const state = openSavedState({
    settings: { storedAt: '/nowhere', place: {} },
    open: (options) => {
      const { keep, ...store } = open<never>();
      return { ...store, keep: (set) => (paths.push(options.path), keep(set as never)) };
    },
    log: { error: () => undefined },
  });
  await state.keepPolicies(tableOf({ policies: 1 }));
  await state.keepPolicies(tableOf({ policies: 1, own: 1 }));
  assert.deepEqual(paths, ['/nowhere-policies', '/nowhere-own']);
});
