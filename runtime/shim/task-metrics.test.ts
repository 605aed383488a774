import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readTaskMetrics } from './task-metrics.ts';

/** As containerd's own library encodes them (containerd/cgroups v3, protowire). */
const version2 = '0a020803120308e807220b088008688010800280a001';

const expected = (cpuNs: number) => ({
  cpuNs,
  memoryBytes: 20_480,
  inactiveFileBytes: 2_048,
  rssBytes: 1_024,
  pageFaults: 0,
  majorPageFaults: 0,
  tasks: 3,
});

test('the usage of a task is read from the metrics of both versions of cgroups', () => {
  const value = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');
  assert.deepEqual(
    readTaskMetrics({ typeUrl: 'io.containerd.cgroups.v2.Metrics', value: value(version2) }),
    expected(1_000_000),
  );
  assert.deepEqual(
    readTaskMetrics({
      typeUrl: 'type.googleapis.com/io.containerd.cgroups.v2.Metrics',
      value: value(version2),
    }),
    expected(1_000_000),
  );
  const memory = '108008f00180108a02041080a001';
  const one = `120208031a060a0408c0843d22${(memory.length / 2).toString(16).padStart(2, '0')}${memory}`;
  assert.deepEqual(
    readTaskMetrics({ typeUrl: 'io.containerd.cgroups.v1.Metrics', value: value(one) }),
    expected(1_000_000),
  );
});

test('metrics of another kind are ignored, and bytes that are not a message are refused', () => {
  assert.equal(readTaskMetrics({ typeUrl: 'example.com/Metrics', value: Buffer.alloc(0) }), undefined);
  assert.throws(() =>
    readTaskMetrics({ typeUrl: 'io.containerd.cgroups.v2.Metrics', value: Buffer.from('ff', 'hex') }),
  );
});

test('a processor time that the CRI cannot express is refused', () => {
  // 2^63 nanoseconds, and 2^64 - 1 microseconds.
  const times = { v1: '1a0d0a0b0880808080808080808001', v2: '120b08ffffffffffffffffff01' };
  for (const [version, hex] of Object.entries(times))
    assert.throws(
      () =>
        readTaskMetrics({
          typeUrl: `io.containerd.cgroups.${version}.Metrics`,
          value: Buffer.from(hex, 'hex'),
        }),
      /a processor time of \d+ s/,
      version,
    );
});
