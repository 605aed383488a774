import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { LinuxContainerResources } from '../cri/contract/contract.types.ts';
import { checkedResources, uncountedHugepages } from './check-resources.ts';
import type { ResourceSupport } from './resource-support.ts';
import { mergedResources } from '../oci/resources.ts';
import { nothingAsked } from '../oci/profile-bounds.ts';

const v1: ResourceSupport = {
  version: 1,
  swap: true,
  hugepages: true,
  hugepageSizes: new Set(['2MB', '1GB']),
};
const v2: ResourceSupport = { ...v1, version: 2 };
const bare: ResourceSupport = { version: 1, swap: false, hugepages: false, hugepageSizes: new Set(['2MB']) };

function resources(part: Partial<LinuxContainerResources> = {}): LinuxContainerResources {
  return { ...nothingAsked, ...part };
}
const Mi = 1024 ** 2;

describe('resources', () => {
  const cases: [
    string,
    Partial<LinuxContainerResources>,
    ResourceSupport,
    Partial<LinuxContainerResources>,
  ][] = [
    ['nothing asked', {}, v1, {}],
    [
      'a memory limit without a swap limit means no swap',
      { memoryLimitInBytes: 64 * Mi },
      v1,
      { memorySwapLimitInBytes: 64 * Mi },
    ],
    [
      'no swap limit is set if swap is not counted',
      { memoryLimitInBytes: 64 * Mi },
      bare,
      { memorySwapLimitInBytes: 0 },
    ],
    [
      'equal limits mean no swap, so the swap limit may be omitted',
      { memoryLimitInBytes: Mi, memorySwapLimitInBytes: Mi },
      bare,
      { memorySwapLimitInBytes: 0 },
    ],
    [
      'swap of version 2 in its own file',
      { memoryLimitInBytes: Mi, unified: { 'memory.swap.max': '0' } },
      v2,
      {},
    ],
    [
      'a swap limit without a memory limit has no effect',
      { memorySwapLimitInBytes: Mi },
      v1,
      { memorySwapLimitInBytes: 0 },
    ],
    [
      'no limit, as large as an int64',
      { memoryLimitInBytes: 2 ** 63 },
      v1,
      { memoryLimitInBytes: -1, memorySwapLimitInBytes: -1 },
    ],
    ['shares in the range that kernels accept', { cpuShares: 1 }, v1, { cpuShares: 2 }],
    ['shares beyond it', { cpuShares: 10 ** 9 }, v1, { cpuShares: 262_144 }],
    ['no quota', { cpuQuota: -1, cpuPeriod: 100_000 }, v1, {}],
    [
      'a limit of 0 for huge pages that are not counted',
      { hugepageLimits: [{ pageSize: '2MB', limit: 0 }] },
      bare,
      { hugepageLimits: [] },
    ],
    [
      'huge pages that no controller counts',
      { hugepageLimits: [{ pageSize: '2MB', limit: Mi }] },
      bare,
      { hugepageLimits: [] },
    ],
    ['huge pages', { hugepageLimits: [{ pageSize: '2MB', limit: 4 * Mi }] }, v1, {}],
    [
      'a limit of 0 for huge pages of a size that the kernel does not have',
      { hugepageLimits: [{ pageSize: '64KB', limit: 0 }] },
      v1,
      { hugepageLimits: [] },
    ],
  ];
  for (const [what, part, support, change] of cases) {
    it(what, () =>
      assert.deepEqual(checkedResources(resources(part), support), resources({ ...part, ...change })),
    );
  }

  const refused: [string, Partial<LinuxContainerResources>, ResourceSupport, string][] = [
    ['a negative memory limit', { memoryLimitInBytes: -2 }, v1, 'RUNTIME_BAD_RESOURCES'],
    [
      'swap below memory',
      { memoryLimitInBytes: 2 * Mi, memorySwapLimitInBytes: Mi },
      v1,
      'RUNTIME_BAD_RESOURCES',
    ],
    [
      'a limit of memory and swap for memory without a limit',
      { memoryLimitInBytes: -1, memorySwapLimitInBytes: Mi },
      v1,
      'RUNTIME_BAD_RESOURCES',
    ],
    [
      'a swap limit if no controller counts swap',
      { memoryLimitInBytes: Mi, memorySwapLimitInBytes: 2 * Mi },
      bare,
      'RUNTIME_RESOURCES_UNSUPPORTED',
    ],
    ['a quota below the minimum', { cpuQuota: 5 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['a quota below -1', { cpuQuota: -7 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['a period that no kernel accepts', { cpuPeriod: 5 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['a huge period', { cpuPeriod: 2 ** 53 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['negative shares', { cpuShares: -1 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['an OOM score out of range', { oomScoreAdj: 1001 }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['processors in words', { cpusetCpus: 'all' }, v1, 'RUNTIME_BAD_RESOURCES'],
    ['processors with a line feed', { cpusetCpus: '0\n1' }, v1, 'RUNTIME_BAD_RESOURCES'],
    [
      'huge pages of a size that does not exist',
      { hugepageLimits: [{ pageSize: '64KB', limit: Mi }] },
      v1,
      'RUNTIME_RESOURCES_UNSUPPORTED',
    ],
    [
      'huge pages whose size is a path',
      { hugepageLimits: [{ pageSize: '../2MB', limit: 0 }] },
      v1,
      'RUNTIME_BAD_RESOURCES',
    ],
    ['unified files in version 1', { unified: { 'memory.high': '1' } }, v1, 'RUNTIME_RESOURCES_UNSUPPORTED'],
    ['a file that moves processes', { unified: { 'cgroup.procs': '1' } }, v2, 'RUNTIME_BAD_RESOURCES'],
    ['a file in another folder', { unified: { 'memory./../cgroup.kill': '1' } }, v2, 'RUNTIME_BAD_RESOURCES'],
  ];
  for (const [what, part, support, code] of refused)
    it(`${what}: refused`, () => assert.throws(() => checkedResources(resources(part), support), { code }));

  it('limits of huge pages that no controller counts are reported; limits of 0 and enforced limits are not', () => {
    const asked = {
      hugepageLimits: [
        { pageSize: '1GB', limit: 0 },
        { pageSize: '2MB', limit: Mi },
      ],
    };
    assert.deepEqual(uncountedHugepages(asked, v1), []);
    assert.deepEqual(uncountedHugepages(asked, bare).length, 1);
    assert.match(uncountedHugepages(asked, bare)[0] ?? '', /1048576 bytes of 2MB huge pages is not enforced/);
  });

  it('an update changes only the values that it contains', () => {
    const current = resources({
      cpuShares: 512,
      memoryLimitInBytes: Mi,
      oomScoreAdj: 100,
      hugepageLimits: [{ pageSize: '2MB', limit: 0 }],
    });
    const update = resources({ memoryLimitInBytes: 2 * Mi, oomScoreAdj: -500 });
    assert.deepEqual(mergedResources(current, update), { ...current, memoryLimitInBytes: 2 * Mi });
    const protectedMemory = { ...current, unified: { 'memory.min': '1', 'memory.high': '9' } };
    assert.deepEqual(
      mergedResources(protectedMemory, { ...update, unified: { 'memory.high': '8' } }).unified,
      {
        'memory.min': '1',
        'memory.high': '8',
      },
    );
  });

  it('an update keeps the limits of huge pages of other sizes', () => {
    const ofPages = (limits: Readonly<Record<string, number>>): LinuxContainerResources =>
      resources({
        hugepageLimits: Object.entries(limits).map(([pageSize, limit]) => ({ pageSize, limit })),
      });
    assert.deepEqual(
      mergedResources(ofPages({ '2MB': Mi, '1GB': 0 }), ofPages({ '2MB': 2 * Mi })),
      ofPages({ '2MB': 2 * Mi, '1GB': 0 }),
    );
  });

  it('an update of only the memory limit raises a lower limit of memory and swap, and never lowers it', () => {
    const swapAfter = (swap: number, update: Partial<LinuxContainerResources>): number =>
      mergedResources(
        resources({ memoryLimitInBytes: Mi, memorySwapLimitInBytes: swap }),
        resources({ ...update }),
      ).memorySwapLimitInBytes;
    assert.equal(swapAfter(Mi, { memoryLimitInBytes: 2 * Mi }), 2 * Mi);
    assert.equal(swapAfter(Mi, { memoryLimitInBytes: -1 }), -1);
    assert.equal(swapAfter(4 * Mi, { memoryLimitInBytes: 2 * Mi }), 4 * Mi);
    assert.equal(swapAfter(-1, { memoryLimitInBytes: 2 * Mi }), -1);
    assert.equal(swapAfter(0, { memoryLimitInBytes: 2 * Mi }), 0);
    assert.equal(swapAfter(Mi, { memoryLimitInBytes: 4 * Mi, memorySwapLimitInBytes: 2 * Mi }), 2 * Mi);
  });
});
