import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readCgroupMounts } from './cgroups.ts';

const line = (target: string, type: string): string => `30 25 0:26 / ${target} rw,relatime shared:9 - ${type} ${type} rw`;

test('version 2 alone', () => {
  assert.deepEqual(readCgroupMounts(line('/sys/fs/cgroup', 'cgroup2')), { version: 2, hybrid: false, roots: ['/sys/fs/cgroup'] });
});

test('version 1 with version 2 beside it is hybrid, and without it is not', () => {
  const v1 = [line('/sys/fs/cgroup/memory', 'cgroup'), line('/sys/fs/cgroup/pids', 'cgroup')];
  const roots = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup/pids'];
  assert.deepEqual(readCgroupMounts([...v1, line('/sys/fs/cgroup/unified', 'cgroup2')].join('\n')), { version: 1, hybrid: true, roots });
  assert.deepEqual(readCgroupMounts(v1.join('\n')), { version: 1, hybrid: false, roots });
});
