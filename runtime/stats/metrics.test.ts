import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ContainerRecord } from '../containers/record.ts';
import { MetricType } from '../cri/contract/contract.types.ts';
import type { SandboxRecord } from '../pods/record.ts';
import type { CgroupDetail } from './cgroup-reading.ts';
import { metricDescriptors } from './metric-descriptors.ts';
import { containerMetrics, endedContainerMetrics, podMetrics } from './metrics.ts';

const sandbox = {
  id: 'pod1',
  config: { metadata: { name: 'web', namespace: 'shop', uid: 'u', attempt: 0 } },
} as SandboxRecord;
const record = {
  id: 'container1',
  phase: 'running',
  imageId: 'sha256:0',
  startedAt: '1700000000123456789',
  reason: '',
  config: {
    metadata: { name: 'main', attempt: 0 },
    image: { image: 'sha256:0', userSpecifiedImage: 'good.test/app:1' },
    linux: {
      resources: { cpuPeriod: 50_000, cpuQuota: 25_000, cpuShares: 512, unified: { 'memory.min': '4096' } },
    },
  },
} as unknown as ContainerRecord;

const pressure = (seconds: number) => {
  const share = { totalNs: seconds * 1e9 + 5, avg10: 0, avg60: 0, avg300: 0 };
  return { some: { ...share, totalNs: share.totalNs * 2 }, full: share };
};

/** Every value that any kernel provides. */
const reading: CgroupDetail = {
  at: 1_800_000_000_000_000_000n,
  cpu: { usageNs: 12_999_999_999, pressure: pressure(3) },
  cpuTimes: { userNs: 9e9, systemNs: 4e9, periods: 100, throttledPeriods: 50, throttledNs: 7e9 },
  memory: {
    usageBytes: 1000,
    limitBytes: 5000,
    inactiveFileBytes: 300,
    rssBytes: 400,
    pageFaults: 20,
    majorPageFaults: 3,
    pressure: pressure(4),
  },
  memoryParts: {
    cacheBytes: 600,
    mappedFileBytes: 50,
    activeFileBytes: 250,
    kernelBytes: 10,
    maxUsageBytes: 4000,
    limitHits: 6,
    ownPageFaults: 18,
    ownMajorPageFaults: 2,
  },
  swap: { usageBytes: 70, limitBytes: 800 },
  ioPressure: pressure(5),
  oomKills: 1,
  tasks: 9,
  tasksLimit: 99,
  blockIo: [{ device: '8:0', name: '/dev/sda', readBytes: 1, writtenBytes: 2, reads: 3, writes: 4 }],
  hugepages: [{ pageSize: '2MB', usageBytes: 4096, maxUsageBytes: 8192 }],
  processes: { processes: 4, descriptors: 12, sockets: 2, openFilesLimit: 1024 },
};
const layer = {
  at: 1n,
  usedBytes: 8192,
  inodesUsed: 5,
  filesystem: { bytes: 1e9, inodes: 1e6, freeInodes: 9e5 },
};
const device = {
  name: 'eth0',
  rxBytes: 1,
  rxPackets: 2,
  rxErrors: 3,
  rxDropped: 4,
  txBytes: 5,
  txPackets: 6,
  txErrors: 7,
  txDropped: 8,
};

const given = [
  ...podMetrics(sandbox, reading.at, [device]),
  ...containerMetrics({ record, sandbox, reading, layer }),
];
const described = metricDescriptors({ pressure: true, hugetlb: true, hugetlbMaximum: true });
const valueOf = (name: string, ...labels: string[]): number | undefined =>
  given.find((metric) => metric.name === name && labels.every((label) => metric.labelValues?.includes(label)))
    ?.value?.value;

describe('metrics', () => {
  test('each returned metric is described, each described metric can be returned', () => {
    assert.deepEqual(
      [...new Set(given.map(({ name }) => name))].sort(),
      described.map(({ name }) => name).sort(),
    );
  });

  test('each has a value for each of its labels, and a type that matches its name', () => {
    const keys = new Map(described.map(({ name, labelKeys }) => [name, labelKeys]));
    for (const { name = '', labelValues, metricType, value, timestamp } of given) {
      assert.equal(labelValues?.length, keys.get(name)?.length, name);
      const grows =
        name.endsWith('_total') && !name.includes('inodes') ? MetricType.COUNTER : MetricType.GAUGE;
      assert.equal(metricType, name === 'container_memory_failcnt' ? MetricType.COUNTER : grows, name);
      assert.ok(Number.isInteger(value?.value) && (value?.value ?? -1) >= 0, name);
      assert.equal(timestamp, reading.at);
    }
    for (const { name, help, labelKeys } of described) {
      assert.match(name, /^container_[a-z_]+$/);
      assert.ok(help.endsWith('.'), help);
      assert.deepEqual(labelKeys.slice(0, 5), ['pod', 'namespace', 'container', 'id', 'image']);
      assert.equal(new Set(labelKeys).size, labelKeys.length);
    }
  });

  test('no two are the same', () => {
    const names = given.map(({ name, labelValues }) => JSON.stringify([name, labelValues]));
    assert.equal(new Set(names).size, names.length);
  });

  test('whose they are', () => {
    for (const { labelValues, name = '' } of podMetrics(sandbox, 1n, [device]))
      assert.deepEqual(labelValues, ['web', 'shop', '', 'pod1', '', 'eth0'], name);
    for (const { labelValues, name = '' } of containerMetrics({ record, sandbox, reading, layer }))
      assert.deepEqual(
        labelValues?.slice(0, 5),
        ['web', 'shop', 'main', 'container1', 'good.test/app:1'],
        name,
      );
  });

  for (const [name, labels, value] of [
    ['container_cpu_usage_seconds_total', ['total'], 12],
    ['container_cpu_cfs_throttled_seconds_total', [], 7],
    ['container_memory_working_set_bytes', [], 700],
    ['container_memory_failures_total', ['pgfault', 'container'], 18],
    ['container_memory_failures_total', ['pgfault', 'hierarchy'], 20],
    ['container_memory_failures_total', ['pgmajfault', 'hierarchy'], 3],
    ['container_fs_reads_bytes_total', ['/dev/sda'], 1],
    ['container_blkio_device_usage_total', ['/dev/sda', '8', '0', 'Write'], 2],
    ['container_fs_usage_bytes', ['/'], 8192],
    ['container_pressure_cpu_waiting_seconds_total', [], 6],
    ['container_pressure_io_stalled_seconds_total', [], 5],
    ['container_network_transmit_packets_dropped_total', ['eth0'], 8],
    ['container_threads_max', [], 99],
    ['container_ulimits_soft', ['max_open_files'], 1024],
    ['container_last_seen', [], 1_800_000_000],
    ['container_start_time_seconds', [], 1_700_000_000],
    ['container_spec_cpu_quota', [], 25_000],
    ['container_spec_memory_limit_bytes', [], 5000],
    ['container_spec_memory_swap_limit_bytes', [], 5800],
    ['container_spec_memory_reservation_limit_bytes', [], 4096],
  ] as const) {
    test(`${[name, ...labels].join(' ')} is ${value}`, () => assert.equal(valueOf(name, ...labels), value));
  }

  test('seconds have fractions beside the whole number, and other values do not', () => {
    const metrics = containerMetrics({ record, sandbox, reading, layer });
    const fractions = metrics.filter(({ doubleValue }) => doubleValue !== undefined);
    assert.deepEqual(
      fractions.find(({ name }) => name === 'container_cpu_usage_seconds_total')?.doubleValue,
      { value: 12.999999999 },
    );
    for (const { name = '', value, doubleValue } of fractions) {
      assert.match(name, /_seconds_total$/);
      assert.equal(Math.floor(doubleValue?.value ?? -1), value?.value, name);
    }
    const whole = metrics.find(({ name }) => name === 'container_cpu_user_seconds_total');
    assert.deepEqual([whole?.doubleValue, whole?.value], [undefined, { value: 9 }]);
  });

  test('missing limits are 0, or are omitted if 0 would be a limit', () => {
    const bare = { ...record, config: { ...record.config, linux: undefined } } as unknown as ContainerRecord;
    const { memory, swap, tasksLimit, ...rest } = reading;
    const { limitBytes: _limit, ...unbounded } = memory ?? assert.fail();
    const found = containerMetrics({
      record: bare,
      sandbox,
      reading: { ...rest, memory: unbounded },
      layer: undefined,
    });
    const value = (name: string): number | undefined =>
      found.find((metric) => metric.name === name)?.value?.value;
    assert.ok(swap !== undefined && tasksLimit !== undefined);
    assert.equal(value('container_spec_cpu_quota'), undefined);
    assert.equal(value('container_spec_cpu_period'), 100_000);
    assert.equal(value('container_spec_cpu_shares'), 1024);
    for (const name of [
      'container_spec_memory_limit_bytes',
      'container_spec_memory_swap_limit_bytes',
      'container_threads_max',
      'container_memory_swap',
    ])
      assert.equal(value(name), 0, name);
    assert.equal(value('container_fs_usage_bytes'), undefined);
  });

  test('a container that was killed because memory ran out is counted after its end', () => {
    const ended = { ...record, phase: 'exited', reason: 'OOMKilled' } as ContainerRecord;
    const ooms = (input: { oomKills: number | undefined; record?: ContainerRecord }): number | undefined =>
      endedContainerMetrics({ record: ended, sandbox, at: 1n, ...input }).find(
        ({ name }) => name === 'container_oom_events_total',
      )?.value?.value;
    assert.equal(ooms({ oomKills: undefined }), 1);
    assert.equal(ooms({ oomKills: 3 }), 3);
    assert.equal(ooms({ oomKills: undefined, record: { ...ended, reason: 'Error' } }), 0);
  });

  test('a metric that this kernel does not provide is not described', () => {
    const names = (support: Parameters<typeof metricDescriptors>[0]): string[] =>
      metricDescriptors(support).map(({ name }) => name);
    const least = names({ pressure: false, hugetlb: false, hugetlbMaximum: true });
    assert.equal(least.length, described.length - 8);
    assert.ok(least.every((name) => !/pressure|hugetlb/.test(name)));
    assert.equal(
      names({ pressure: true, hugetlb: true, hugetlbMaximum: false }).length,
      described.length - 1,
    );
  });
});
