import assert from 'node:assert/strict';
import { test } from 'node:test';
import { changedOptions } from './changed-options.ts';

test('the options that differ are named, without values, and without those that apply at once', () => {
  const before = { a: 1, list: [1, 2], map: { x: { y: 1 }, gone: 2 }, images: { pinned: [], lazy: false } };
  const after = { a: 1, list: [2, 1], map: { x: { y: 2 }, come: 3 }, images: { pinned: ['p'], lazy: true } };
  assert.deepEqual(changedOptions(before, after, ['images.pinned']), [
    'images.lazy',
    'list',
    'map.come',
    'map.gone',
    'map.x.y',
  ]);
  assert.deepEqual(changedOptions(before, structuredClone(before), []), []);
});

test('a section that is added or removed is named as a whole', () => {
  assert.deepEqual(changedOptions({ cluster: undefined }, { cluster: { servers: [] } }, []), ['cluster']);
  assert.deepEqual(changedOptions({ cluster: { servers: [] } }, {}, []), ['cluster']);
});
