import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { afterEach, beforeEach, test } from 'node:test';
import { currentBootId } from '../../base/process/index.ts';
import { storeFolders } from './folders.ts';
import { openShutdownMarker } from './shutdown-marker.ts';
import type { ShutdownMarker } from './shutdown-marker.ts';

const recorded = ['one', 'two'];
let root: string;
beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/portcullis-marker-`);
});
afterEach(() => {
  rmSync(root, { recursive: true });
});
const open = (): Promise<ShutdownMarker> => openShutdownMarker(storeFolders(root), recorded);
const uncheckedNow = async (): Promise<string[]> => [...(await open()).unchecked].sort();
const leave = (left: unknown): void => {
  writeFileSync(`${root}/last-run.json`, typeof left === 'string' ? left : JSON.stringify(left));
};

const boot = currentBootId();
const leftBehind: readonly (readonly [string, unknown, readonly string[]])[] = [
  ['a clean stop in this boot', { bootId: boot, clean: true, unchecked: [] }, []],
  [
    'a clean stop with layers to check',
    { bootId: boot, clean: true, unchecked: ['two', 'removed since'] },
    ['two'],
  ],
  ['a clean stop of a release without the list', { bootId: boot, clean: true }, []],
  ['a clean stop in another boot', { bootId: 'another', clean: true, unchecked: [] }, recorded],
  ['no clean stop in this boot', { bootId: boot, clean: false }, recorded],
  ['no clean stop in another boot', { bootId: 'another', clean: false }, recorded],
  ['a value that is not a list', { bootId: boot, clean: true, unchecked: 'one' }, recorded],
  ['a list of something else', { bootId: boot, clean: true, unchecked: [1] }, recorded],
  ['an empty file', '', recorded],
  ['something else', '[]', recorded],
];
for (const [what, left, expected] of leftBehind) {
  test(`${what}: ${expected.length} of ${recorded.length} layers are unchecked`, async () => {
    leave(left);
    assert.deepEqual(await uncheckedNow(), expected);
  });
}

test('without a mark every recorded layer is unchecked', async () => {
  assert.deepEqual(await uncheckedNow(), recorded);
});

test('a start that ends early leaves all checks to the next start, however often this happens', async () => {
  leave({ bootId: 'another', clean: false });
  for (let start = 0; start < 3; start++) assert.deepEqual(await uncheckedNow(), recorded);
});

test('an orderly stop during the checks records the unchecked layers', async () => {
  leave({ bootId: 'another', clean: false });
  const marker = await open();
  await marker.stopped(['two']);
  const next = await open();
  assert.deepEqual([...next.unchecked], ['two']);
  await next.stopped([]);
  assert.deepEqual(await uncheckedNow(), []);
});
