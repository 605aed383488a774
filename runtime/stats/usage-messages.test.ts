import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CgroupUsage } from './cgroup-reading.ts';
import { cpuUsage, ioUsage, memoryUsage, networkUsage, swapUsage } from './usage-messages.ts';

const memory = {
  usageBytes: 1000,
  inactiveFileBytes: 300,
  rssBytes: 400,
  pageFaults: 20,
  majorPageFaults: 3,
};

describe('messages of the CRI', () => {
  test('available memory is the limit minus the working set, or 0 without a limit', () => {
    const available = (limitBytes?: number): number | undefined =>
      memoryUsage({ at: 1n, memory: { ...memory, ...(limitBytes !== undefined && { limitBytes }) } })
        ?.availableBytes?.value;
    assert.deepEqual([available(5000), available(600), available()], [4300, 0, 0]);
    assert.deepEqual(memoryUsage({ at: 1n, memory }), {
      timestamp: 1n,
      workingSetBytes: { value: 700 },
      availableBytes: { value: 0 },
      usageBytes: { value: 1000 },
      rssBytes: { value: 400 },
      pageFaults: { value: 20 },
      majorPageFaults: { value: 3 },
    });
  });

  test('swap usage, and the rest of its limit', () => {
    assert.deepEqual(swapUsage({ at: 1n, swap: { usageBytes: 5, limitBytes: 8 } }), {
      timestamp: 1n,
      swapUsageBytes: { value: 5 },
      swapAvailableBytes: { value: 3 },
    });
    assert.deepEqual(swapUsage({ at: 1n, swap: { usageBytes: 5 } }), {
      timestamp: 1n,
      swapUsageBytes: { value: 5 },
    });
  });

  test('pressure, if the kernel records it', () => {
    const share = { totalNs: 7000, avg10: 0.5, avg60: 1, avg300: 2 };
    const data = { Total: 7000, Avg10: 0.5, Avg60: 1, Avg300: 2 };
    const usage: CgroupUsage = {
      at: 1n,
      cpu: { usageNs: 9, nanoCores: 4, pressure: { some: share } },
      ioPressure: { some: share, full: share },
    };
    assert.deepEqual(cpuUsage(usage), {
      timestamp: 1n,
      usageCoreNanoSeconds: { value: 9 },
      usageNanoCores: { value: 4 },
      psi: { Some: data },
    });
    assert.deepEqual(ioUsage(usage), { timestamp: 1n, psi: { Some: data, Full: data } });
  });

  test('values that the kernel does not account are absent', () => {
    for (const message of [cpuUsage, memoryUsage, swapUsage, ioUsage])
      assert.equal(message({ at: 1n }), undefined);
  });

  test('the default interface is eth0, or else the first interface', () => {
    const device = (name: string) => ({
      name,
      rxBytes: 1,
      rxPackets: 2,
      rxErrors: 3,
      rxDropped: 4,
      txBytes: 5,
      txPackets: 6,
      txErrors: 7,
      txDropped: 8,
    });
    const byDefault = (...names: string[]): string | undefined =>
      networkUsage(1n, names.map(device)).defaultInterface?.name;
    assert.deepEqual(
      [byDefault('net1', 'eth0'), byDefault('net1', 'net2'), byDefault()],
      ['eth0', 'net1', undefined],
    );
    assert.deepEqual(networkUsage(1n, [device('eth0')]).interfaces, [
      {
        name: 'eth0',
        rxBytes: { value: 1 },
        rxErrors: { value: 3 },
        txBytes: { value: 5 },
        txErrors: { value: 7 },
      },
    ]);
  });
});
