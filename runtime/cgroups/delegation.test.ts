import assert from 'node:assert/strict';
import { test } from 'node:test';
import { delegatesToNamespaces, hasNsDelegate } from './delegation.ts';

const line = (type: string, options: string, target = '/sys/fs/cgroup'): string =>
  `35 24 0:30 / ${target} rw,nosuid,nodev,noexec,relatime shared:9 - ${type} cgroup2 ${options}`;

test('nsdelegate is read from the options of version 2, and not from other mounts', () => {
  assert.equal(hasNsDelegate(line('cgroup2', 'rw,nsdelegate,memory_recursiveprot')), true);
  assert.equal(hasNsDelegate(line('cgroup2', 'rw,memory_recursiveprot')), false);
  assert.equal(hasNsDelegate(line('tmpfs', 'rw,nsdelegate')), false);
  assert.equal(hasNsDelegate(line('cgroup2', 'rw', '/nsdelegate')), false);
  assert.equal(hasNsDelegate(''), false);
  const other = '24 1 8:1 / / rw,relatime master:1 - ext4 /dev/sda1 rw';
  assert.equal(hasNsDelegate(`${other}\n${line('cgroup2', 'rw,nsdelegate')}\n`), true);
});

test('version 1 delegates no cgroups', async () => {
  assert.equal(await delegatesToNamespaces({ version: 1 }), false);
});
