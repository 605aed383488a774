import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { countsHugepages, withoutIdleHugepageLimits } from './hugepages.ts';

const none = { pageSize: '2MB', limit: 0 };
const some = { pageSize: '1GB', limit: 2 ** 30 };
const asked = { cpuShares: 2, hugepageLimits: [none, some] } as unknown as LinuxContainerResources;

test('what a kubelet sends for every page size falls away where nobody counts them, and only there', () => {
  assert.deepEqual(withoutIdleHugepageLimits(asked, false), { cpuShares: 2, hugepageLimits: [some] });
  assert.equal(withoutIdleHugepageLimits(asked, true), asked);
  assert.equal(withoutIdleHugepageLimits(undefined, false), undefined);
});

test('version 1 counts huge pages in a hierarchy of their own', () => {
  const roots = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup/hugetlb'];
  assert.equal(countsHugepages({ version: 1, hybrid: false, roots }), true);
  assert.equal(countsHugepages({ version: 1, hybrid: true, roots: roots.slice(0, 1) }), false);
  assert.equal(countsHugepages({ version: 2, hybrid: false, roots: ['/nonexistent'] }), false);
});
