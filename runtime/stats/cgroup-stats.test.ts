import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';
import { readCgroupMounts } from '../cgroups/cgroups.ts';
import { openCgroupStats } from './cgroup-stats.ts';
import type { CgroupStats } from './cgroup-stats.ts';
import type { CgroupTarget } from './cgroup-stats.types.ts';

/** Uses a real process in its own real cgroups, whatever version the kernel has. */
describe('figures of a real cgroup', () => {
  const mounts = readCgroupMounts();
  const cgroup = `/portcullis-stats-${process.pid}`;
  const made: string[] = [];
  let child: ChildProcess;
  let stats: CgroupStats;
  let sampled: readonly CgroupTarget[] = [];
  const target = (): CgroupTarget => ({ id: 'busy', cgroup, pid: child.pid ?? 0 });

  before(async () => {
    // The process waits for a line, so that all of its usage happens inside the cgroup.
    child = spawn('sh', ['-c', 'read line; while :; do :; done'], { stdio: ['pipe', 'ignore', 'ignore'] });
    await once(child, 'spawn');
    for (const root of mounts.roots) {
      // A cpuset of version 1 accepts no process until it has processors.
      if (root.endsWith('/cpuset')) continue;
      mkdirSync(root + cgroup);
      made.push(root + cgroup);
      writeFileSync(`${root}${cgroup}/cgroup.procs`, String(child.pid));
    }
    child.stdin?.write('go\n');
    stats = openCgroupStats({ mounts, targets: () => sampled });
  });
  after(async () => {
    await stats.close();
    child.kill('SIGKILL');
    await once(child, 'exit');
    for (const folder of made) {
      for (let attempt = 0; attempt < 100; attempt += 1) {
        try {
          rmdirSync(folder);
          break;
        } catch {
          await pause(10);
        }
      }
    }
  });

  test('a reading has a rate once there is an older sample, and later readings cover more time', async () => {
    sampled = [target()];
    const [first] = await stats.usage([target()]);
    assert.ok(first?.cpu !== undefined, 'the processor is accounted');
    const rates: number[] = [];
    for (let look = 0; look < 2; look += 1) {
      await pause(300);
      const [next] = await stats.usage([target()]);
      rates.push(next?.cpu?.nanoCores ?? 0);
    }
    for (const rate of rates) assert.ok(rate > 0 && rate < 1.1e9, 'one process keeps one processor busy');
    assert.notEqual(rates[0], rates[1]);
  });

  test('of a container that has ended, only the out-of-memory kills are read', async () => {
    const [found] = await stats.detail([{ id: 'busy', cgroup, hasEnded: true }]);
    assert.deepEqual({ ...found, at: 0n }, { at: 0n, oomKills: 0, blockIo: [], hugepages: [] });
  });

  test('the details are the values of the files and of /proc', async (t) => {
    const [found] = await stats.detail([target()]);
    assert.equal(found?.processes?.processes, 1);
    assert.equal(found?.processes?.descriptors, readdirSync(`/proc/${child.pid ?? 0}/fd`).length);
    const limit = /^Max open files +(\d+)/m.exec(readFileSync(`/proc/${child.pid ?? 0}/limits`, 'utf8'))?.[1];
    assert.equal(found?.processes?.openFilesLimit, Number(limit));
    assert.ok((found?.cpuTimes?.userNs ?? 0) > 0);
    assert.ok(Math.abs(Number(found?.at ?? 0n) / 1e6 - Date.now()) < 5_000, 'nanoseconds since 1970');
    if (found?.memory === undefined) return t.diagnostic('no memory controller here');
    assert.ok(Number.isInteger(found.memory.usageBytes) && found.memoryParts !== undefined);
  });

  test('many cgroups are read at once and in order, including cgroups that do not exist', async () => {
    const targets = Array.from({ length: 200 }, (_, index) =>
      index % 2 === 0 ? target() : { id: `none${index}`, cgroup: '/no/such/cgroup' },
    );
    const found = await stats.usage(targets);
    assert.equal(found.length, 200);
    found.forEach((reading, index) => assert.equal(reading === undefined, index % 2 === 1));
    assert.deepEqual(await stats.usage([]), []);
  });

  test('no request is answered after the close', async () => {
    const own = openCgroupStats({ mounts, targets: () => [] });
    await own.usage([target()]);
    await own.close();
    await assert.rejects(own.usage([target()]), { code: 'RUNTIME_STATS_LOST', kind: 'unavailable' });
  });
});
