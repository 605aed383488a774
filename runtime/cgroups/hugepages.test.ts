import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countsHugepages } from './hugepages.ts';

test('version 1 counts huge pages in a separate hierarchy', () => {
  const roots = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup/hugetlb'];
  assert.equal(countsHugepages({ version: 1, hybrid: false, roots }), true);
  assert.equal(countsHugepages({ version: 1, hybrid: true, roots: roots.slice(0, 1) }), false);
  assert.equal(countsHugepages({ version: 2, hybrid: false, roots: ['/nonexistent'] }), false);
});
