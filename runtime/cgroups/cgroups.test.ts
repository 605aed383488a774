import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { oomKills, readCgroupMounts, rootOf } from './cgroups.ts';

const line = (target: string, type: string): string =>
  `30 25 0:26 / ${target} rw,relatime shared:9 - ${type} ${type} rw`;

test('version 2 alone', () => {
  assert.deepEqual(readCgroupMounts(line('/sys/fs/cgroup', 'cgroup2')), {
    version: 2,
    hybrid: false,
    roots: ['/sys/fs/cgroup'],
  });
});

test('version 1 is hybrid only if version 2 is mounted beside it', () => {
  const v1 = [line('/sys/fs/cgroup/memory', 'cgroup'), line('/sys/fs/cgroup/pids', 'cgroup')];
  const roots = ['/sys/fs/cgroup/memory', '/sys/fs/cgroup/pids'];
  assert.deepEqual(readCgroupMounts([...v1, line('/sys/fs/cgroup/unified', 'cgroup2')].join('\n')), {
    version: 1,
    hybrid: true,
    roots,
  });
  assert.deepEqual(readCgroupMounts(v1.join('\n')), { version: 1, hybrid: false, roots });
});

test('a controller of version 1 is found if it is mounted alone or with others', () => {
  const roots = ['/sys/fs/cgroup/cpu,cpuacct', '/sys/fs/cgroup/memory'];
  const mounts = { version: 1, hybrid: false, roots } as const;
  assert.deepEqual(
    ['cpuacct', 'memory', 'cpu', 'freezer'].map((controller) => rootOf(mounts, controller)),
    [roots[0], roots[1], roots[0], undefined],
  );
});

test('out-of-memory kills are counted in the format of either version', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-oom-'));
  try {
    mkdirSync(join(folder, 'memory/c'), { recursive: true });
    writeFileSync(
      join(folder, 'memory/c/memory.oom_control'),
      'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
    );
    writeFileSync(
      join(folder, 'memory/c/memory.events'),
      'low 0\nhigh 0\nmax 41\noom 3\noom_kill 1\noom_group_kill 0\n',
    );
    const [v1, v2] = [1, 2].map((version) => ({
      version: version as 1 | 2,
      hybrid: false,
      roots: [join(folder, 'memory')],
    }));
    assert.ok(v1 !== undefined && v2 !== undefined);
    assert.deepEqual(
      [await oomKills(v1, '/c'), await oomKills(v2, '/c'), await oomKills(v2, '/gone')],
      [2, 1, 0],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
