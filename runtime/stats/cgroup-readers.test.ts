import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { workingSetOf } from './cgroup-reading.ts';
import { version1, version2 } from './cgroup-samples.fixture.ts';
import { cgroupV1Reader } from './cgroup-v1.ts';
import { cgroupV2Reader } from './cgroup-v2.ts';

const one = {
  version: 1,
  hybrid: true,
  roots: ['cpu,cpuacct', 'memory', 'blkio', 'pids', 'hugetlb'].map((name) => `/sys/fs/cgroup/${name}`),
} as const;
const two = { version: 2, hybrid: false, roots: ['/sys/fs/cgroup'] } as const;

/** Reads recorded files of the cgroup /pods/c, with changes applied to them. */
function reading(
  sample: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, string | undefined>> = {},
) {
  return (path: string): string | undefined => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (!path.endsWith(`/pods/c/${name}`)) return undefined;
    return name in changes ? changes[name] : sample[name];
  };
}

describe('version 2', () => {
  test('processes below the cgroup of a container count', (t) => {
    const root = mkdtempSync(join(tmpdir(), 'portcullis-processes-'));
    t.after(() => rmSync(root, { recursive: true }));
    const pids = { c: '5\n', 'c/exec-1': '6\n7\n', 'c/init.scope/deep': '8\n', other: '9\n' };
    for (const [path, text] of Object.entries(pids)) {
      mkdirSync(join(root, path), { recursive: true });
      writeFileSync(join(root, path, 'cgroup.procs'), text);
    }
    const read = (path: string): string | undefined =>
      existsSync(path) ? readFileSync(path, 'utf8') : undefined;
    const reader = cgroupV2Reader({ ...two, roots: [root] }, read, []);
    assert.deepEqual([...reader.processes('/c')].sort(), [5, 6, 7, 8]);
    for (let at = 0; at < 2_000; at += 1) mkdirSync(join(root, `many/${at}`), { recursive: true });
    let reads = 0;
    cgroupV2Reader({ ...two, roots: [root] }, () => void (reads += 1), []).processes('/many');
    assert.equal(reads, 256, 'of cgroups without number, a part is read');
  });

  test('what is recorded', () => {
    const reader = cgroupV2Reader(two, reading(version2), ['2MB', '1GB']);
    const { blockIo, hugepages, cpuTimes, memoryParts, ...rest } =
      reader.detail('/pods/c') ?? assert.fail('there is a cgroup');
    const { oomKills, tasksLimit, ...usage } = rest;
    assert.deepEqual(usage, reader.usage('/pods/c'));
    assert.equal(reader.cpuTime('/pods/c'), 2334294000);
    assert.equal(usage.cpu?.usageNs, 2334294000);
    assert.equal(usage.cpu.pressure?.some?.totalNs, 11908868000);
    assert.deepEqual(cpuTimes, {
      userNs: 1458933000,
      systemNs: 875360000,
      periods: 120,
      throttledPeriods: 115,
      throttledNs: 12079144000,
    });
    const { pressure, ...memory } = usage.memory ?? {};
    assert.deepEqual(memory, {
      usageBytes: 9859072,
      limitBytes: 64 * 2 ** 20,
      inactiveFileBytes: 614400,
      rssBytes: 286720,
      pageFaults: Number(/^pgfault (\d+)/m.exec(version2['memory.stat'] ?? '')?.[1]),
      majorPageFaults: Number(/^pgmajfault (\d+)/m.exec(version2['memory.stat'] ?? '')?.[1]),
    });
    assert.equal(pressure?.full?.totalNs, 0);
    assert.deepEqual(usage.swap, { usageBytes: 0, limitBytes: 32 * 2 ** 20 });
    assert.equal(usage.ioPressure?.some?.totalNs, 32324000);
    assert.deepEqual([usage.tasks, tasksLimit, oomKills], [3, 50, 0]);
    assert.equal(memoryParts?.kernelBytes, 262144);
    assert.equal(memoryParts.maxUsageBytes, 10174464);
    assert.deepEqual(blockIo, [
      { device: '7:0', readBytes: 2097152, writtenBytes: 1048576, reads: 32, writes: 16 },
    ]);
    assert.deepEqual(hugepages, [
      { pageSize: '2MB', usageBytes: 0 },
      { pageSize: '1GB', usageBytes: 0 },
    ]);
    assert.deepEqual(reader.processes('/pods/c'), [136, 141, 167]);
  });

  test('an older kernel without limits: missing values are omitted', () => {
    const stat = version2['memory.stat']?.replace(/^kernel .*\n/m, '');
    const absent = [
      'memory.peak',
      'cpu.pressure',
      'io.pressure',
      'memory.pressure',
      'memory.swap.current',
    ].map((name) => [name, undefined]);
    const changes = {
      ...(Object.fromEntries(absent) as Record<string, undefined>),
      'memory.stat': stat,
      'memory.max': 'max\n',
      'pids.max': 'max\n',
    };
    const found = cgroupV2Reader(two, reading(version2, changes), []).detail('/pods/c');
    assert.equal(found?.memory?.limitBytes, undefined);
    assert.equal(found?.tasksLimit, undefined);
    assert.equal(found?.swap, undefined);
    assert.equal(found?.cpu?.pressure, undefined);
    assert.equal(found?.ioPressure, undefined);
    assert.equal(found?.memoryParts?.maxUsageBytes, undefined);
    const parts = ['kernel_stack', 'pagetables', 'percpu', 'sock', 'slab'].map((name) =>
      Number(new RegExp(`^${name} (\\d+)`, 'm').exec(stat ?? '')?.[1]),
    );
    assert.equal(
      found?.memoryParts?.kernelBytes,
      parts.reduce((sum, part) => sum + part, 0),
    );
  });

  test('a cgroup that does not exist', () => {
    const reader = cgroupV2Reader(two, reading(version2), []);
    assert.equal(reader.usage('/pods/other'), undefined);
    assert.equal(reader.detail('/pods/other'), undefined);
    assert.equal(reader.cpuTime('/pods/other'), undefined);
    assert.deepEqual(reader.processes('/pods/other'), []);
  });
});

describe('version 1', () => {
  test('the recorded values, including the cgroups below', () => {
    const nested = version1['memory.stat']
      ?.replace(/^pgfault \d+/m, 'pgfault 7')
      .replace(/^total_inactive_file \d+/m, 'total_inactive_file 4096');
    const reader = cgroupV1Reader(one, reading(version1, { 'memory.stat': nested }), ['2MB']);
    const { blockIo, hugepages, cpuTimes, memoryParts, ...rest } =
      reader.detail('/pods/c') ?? assert.fail('there is a cgroup');
    const { oomKills, tasksLimit, ...usage } = rest;
    assert.deepEqual(usage, reader.usage('/pods/c'));
    assert.equal(reader.cpuTime('/pods/c'), 250604811);
    assert.deepEqual(cpuTimes, {
      userNs: 200_000_000,
      systemNs: 40_000_000,
      periods: 12,
      throttledPeriods: 12,
      throttledNs: 488991402,
    });
    assert.deepEqual(usage, {
      cpu: { usageNs: 250604811 },
      memory: {
        usageBytes: 9859072,
        limitBytes: 64 * 2 ** 20,
        inactiveFileBytes: 4096,
        rssBytes: Number(/^total_rss (\d+)/m.exec(nested ?? '')?.[1]),
        pageFaults: Number(/^total_pgfault (\d+)/m.exec(nested ?? '')?.[1]),
        majorPageFaults: 0,
      },
      swap: { usageBytes: 0, limitBytes: 32 * 2 ** 20 },
      tasks: 3,
    });
    assert.equal(memoryParts?.ownPageFaults, 7);
    assert.equal(memoryParts.maxUsageBytes, 9981952);
    assert.equal(memoryParts.kernelBytes, 303104);
    assert.deepEqual([tasksLimit, oomKills], [50, 0]);
    assert.deepEqual(blockIo, [
      { device: '8:0', readBytes: 1310720, writtenBytes: 4096, reads: 30, writes: 1 },
    ]);
    assert.deepEqual(hugepages, []);
    assert.deepEqual(reader.processes('/pods/c').length, 3);
  });

  test('huge pages, and devices where another scheduler accounts them', () => {
    const changes = {
      'hugetlb.2MB.usage_in_bytes': '4194304\n',
      'hugetlb.2MB.max_usage_in_bytes': '6291456\n',
      'blkio.bfq.io_service_bytes_recursive': 'Total 0\n',
      'blkio.bfq.io_serviced_recursive': 'Total 0\n',
      'blkio.throttle.io_service_bytes_recursive': '254:0 Read 8\nTotal 8\n',
      'blkio.throttle.io_serviced_recursive': '254:0 Read 1\nTotal 1\n',
    };
    const found = cgroupV1Reader(one, reading(version1, changes), ['2MB', '1GB']).detail('/pods/c');
    assert.deepEqual(found?.hugepages, [{ pageSize: '2MB', usageBytes: 4194304, maxUsageBytes: 6291456 }]);
    assert.deepEqual(found.blockIo, [
      { device: '254:0', readBytes: 8, writtenBytes: 0, reads: 1, writes: 0 },
    ]);
  });

  test('a kernel without swap accounting, and no limit', () => {
    const stat = version1['memory.stat']?.replace(/^total_swap .*\n/m, '');
    const changes = { 'memory.stat': stat, 'memory.limit_in_bytes': '9223372036854771712\n' };
    const found = cgroupV1Reader(one, reading(version1, changes), []).usage('/pods/c');
    assert.equal(found?.swap, undefined);
    assert.equal(found?.memory?.limitBytes, undefined);
  });

  test('the values of a hierarchy that is not mounted are omitted', () => {
    const found = cgroupV1Reader({ ...one, roots: ['/sys/fs/cgroup/memory'] }, reading(version1), []).detail(
      '/pods/c',
    );
    assert.equal(found?.cpu, undefined);
    assert.equal(found?.cpuTimes, undefined);
    assert.equal(found?.tasks, undefined);
    assert.equal(found?.memory?.usageBytes, 9859072);
  });
});

test('the working set never falls below zero', () => {
  const memory = { usageBytes: 10, inactiveFileBytes: 12, rssBytes: 0, pageFaults: 0, majorPageFaults: 0 };
  assert.equal(workingSetOf(memory), 0);
  assert.equal(workingSetOf({ ...memory, inactiveFileBytes: 4 }), 6);
});

test('out-of-memory kills are read from one file, and a cgroup that is gone has none', () => {
  for (const [makeReader, mounts, sample] of [
    [cgroupV1Reader, one, version1],
    [cgroupV2Reader, two, version2],
  ] as const) {
    const file = mounts.version === 1 ? 'memory.oom_control' : 'memory.events';
    const killed = sample[file]?.replace('oom_kill 0', 'oom_kill 3');
    let files = 0;
    const read = reading(sample, { [file]: killed });
    const reader = makeReader(
      mounts,
      (path) => {
        files += 1;
        return read(path);
      },
      ['2MB'],
    );
    assert.deepEqual([reader.oomKills('/pods/c'), files], [3, 1]);
    assert.equal(reader.oomKills('/pods/other'), undefined);
  }
});
