import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SetStore, StoredSet } from '../../followed-files/stored-set.ts';
import { openSavedState } from './saved-state.ts';

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

test('a policy that the disk did not take is offered again without another change', async () => {
  const { disk, open } = slowDisk();
  const state = openSavedState({
    settings: { storedAt: '/nowhere', place: {} },
    open,
    log: { error: () => undefined },
  });
  const figures = {
    ...{ synced: true, policies: 1, namespaces: 0, pods: 0 },
    groups: 0,
    members: 0,
    problems: [],
  };
  const table = {
    figures: () => figures,
    saved: () => ({ policies: { policies: [], namespaces: [] }, revision: 1 }),
  };
  await state.keepPolicies(table);
  assert.equal(disk.taken, 0);
  disk.isBusy = false;
  await state.keepPolicies(table);
  assert.equal(disk.taken, 1);
});

test('a policy waits for the write before it', async () => {
  const { disk, open } = slowDisk();
  const state = openSavedState({
    settings: { storedAt: '/nowhere', place: {} },
    open,
    log: { error: () => undefined },
  });
  const figures = {
    ...{ synced: true, policies: 1, namespaces: 0, pods: 0 },
    groups: 0,
    members: 0,
    problems: [],
  };
  const table = {
    figures: () => figures,
    saved: () => ({ policies: { policies: [], namespaces: [] }, revision: 1 }),
  };
  setTimeout(() => (disk.isBusy = false), 30);
  await state.keepPolicies(table);
  assert.equal(disk.taken, 1, 'it is stored before it is in force');
});
