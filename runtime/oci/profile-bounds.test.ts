import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { MountPropagation } from '../cri/contract/contract.types.ts';
import type { LinuxContainerResources, Mount } from '../cri/contract/contract.types.ts';
import { boundedMounts, boundedResources, checkBounds, nothingAsked as none } from './profile-bounds.ts';

const bounds = { resources: {}, ownNamespaces: [], readonlyVolumes: false, nonRoot: false } as const;

describe('the requirements of a profile on the runtime', () => {
  const facts = {
    uid: 1000,
    userNamespace: false,
    cgroupNamespace: true,
    hostNetwork: false,
    timeNamespace: false,
  };
  const table: readonly (readonly [
    name: string,
    settings: Parameters<typeof checkBounds>[0],
    facts: Parameters<typeof checkBounds>[1],
    code?: string,
  ])[] = [
    ['nothing', {}, { ...facts, uid: 0 }],
    ['a user other than root', { bounds: { ...bounds, nonRoot: true } }, facts],
    [
      'a user other than root, for a container of root',
      { bounds: { ...bounds, nonRoot: true } },
      { ...facts, uid: 0 },
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    [
      'a user other than root, for a container of root in a user namespace',
      { bounds: { ...bounds, nonRoot: true } },
      { ...facts, uid: 0, userNamespace: true },
    ],
    [
      'a user namespace',
      { bounds: { ...bounds, ownNamespaces: ['user'] } },
      facts,
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    [
      'a user namespace, for a container that has one',
      { bounds: { ...bounds, ownNamespaces: ['user'] } },
      { ...facts, userNamespace: true },
    ],
    [
      'a cgroup namespace',
      { bounds: { ...bounds, ownNamespaces: ['cgroup'] } },
      { ...facts, cgroupNamespace: false },
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    [
      'a time namespace',
      { bounds: { ...bounds, ownNamespaces: ['time'] } },
      facts,
      'RUNTIME_OUTSIDE_PROFILE',
    ],
    [
      'a time namespace, with a runtime that creates one',
      { bounds: { ...bounds, ownNamespaces: ['time'] } },
      { ...facts, timeNamespace: true },
    ],
    ['rules of peers', { peers: { egress: [] } }, facts],
    [
      'peer rules in the host’s network',
      { peers: { egress: [] } },
      { ...facts, hostNetwork: true },
      'RUNTIME_PROFILE_NOT_ENFORCED',
    ],
  ];
  for (const [name, settings, of, code] of table) {
    it(name, () => {
      if (code === undefined) checkBounds(settings, of);
      else assert.throws(() => checkBounds(settings, of), { code });
    });
  }
});

describe('bounds of resources', () => {
  it('are set if nothing was requested', () => {
    const resources = { cpu: 500, memory: 1 << 20, swap: 0 };
    const { cpuQuota, cpuPeriod, memoryLimitInBytes, memorySwapLimitInBytes } =
      boundedResources(undefined, resources) ?? none;
    assert.deepEqual(
      [cpuQuota, cpuPeriod, memoryLimitInBytes, memorySwapLimitInBytes],
      [50_000, 100_000, 1 << 20, 1 << 20],
    );
  });

  it('never give more than the bound, whatever the period and the least quota of the kernel', () => {
    for (const cpu of [1, 3, 7, 10, 500, 999, 1500])
      for (const period of [0, 1000, 1001, 50_000, 1_000_000]) {
        const bounded = boundedResources({ ...none, cpuPeriod: period }, { cpu }) ?? none;
        const { cpuQuota, cpuPeriod } = bounded;
        assert.ok(cpuQuota * 1000 <= cpu * cpuPeriod, `${cpuQuota} of ${cpuPeriod} for ${cpu}`);
        assert.ok(cpuQuota >= 1000 && cpuPeriod >= period && cpuPeriod <= 1_000_000);
        // An update checks again what it was given.
        assert.deepEqual(boundedResources(bounded, { cpu }), bounded);
      }
  });

  it('do not change requests within them, and change nothing if there are no bounds', () => {
    const asked = {
      ...none,
      cpuQuota: 20_000,
      cpuPeriod: 50_000,
      memoryLimitInBytes: 1000,
      memorySwapLimitInBytes: 1500,
    };
    assert.deepEqual(boundedResources(asked, { cpu: 500, memory: 2000, swap: 500 }), asked);
    assert.equal(boundedResources(asked, undefined), asked);
    assert.equal(boundedResources(undefined, {}), undefined);
  });

  it('lifts a limit on memory that no bound covers', () => {
    const lifted = { ...none, memoryLimitInBytes: -1 };
    assert.equal(boundedResources(lifted, { cpu: 500 })?.memoryLimitInBytes, -1);
    assert.equal(boundedResources(lifted, { memory: 2000 })?.memoryLimitInBytes, 2000);
  });

  it('let a kubelet set the quality of service of memory, which raises no limit', () => {
    const unified = { 'memory.min': '1000', 'memory.low': '1000', 'memory.high': '1800' };
    const asked = { ...none, memoryLimitInBytes: 1000, memorySwapLimitInBytes: 1000, unified };
    assert.deepEqual(boundedResources(asked, { memory: 2000, swap: 0 }), asked);
  });

  const beyond: readonly (readonly [asked: Partial<LinuxContainerResources>, bounds: object, why: RegExp])[] =
    [
      [{ memoryLimitInBytes: 2001 }, { memory: 2000 }, /memory of 2001 bytes is more than 2000/],
      [{ cpuQuota: 60_000, cpuPeriod: 100_000 }, { cpu: 500 }, /0\.6 CPUs are more than 0\.5/],
      [{ cpuQuota: 1000, cpuPeriod: 1000 }, { cpu: 500 }, /1 CPUs are more than 0\.5/],
      [{ memoryLimitInBytes: 1000, memorySwapLimitInBytes: -1 }, { swap: 0 }, /swap of -1 bytes/],
      [{ memorySwapLimitInBytes: 0 }, { swap: 0 }, /requires a limit on memory/],
      [{ unified: { 'memory.max': 'max' } }, { memory: 1 }, /memory\.max under unified/],
      [{ unified: { 'pids.max': '9' } }, { pids: 1 }, /pids\.max under unified/],
      [
        { unified: { 'memory.high': '9', 'memory.swap.max': '9' } },
        { memory: 1 },
        /: memory\.swap\.max under unified/,
      ],
    ];
  for (const [asked, limits, why] of beyond) {
    it(`refuse ${JSON.stringify(asked)}`, () => {
      assert.throws(() => boundedResources({ ...none, ...asked }, limits), {
        code: 'RUNTIME_OUTSIDE_PROFILE',
        message: why,
      });
    });
  }
});

describe('read-only volumes', () => {
  const mount = {
    containerPath: '/data',
    hostPath: '/x',
    readonly: false,
    propagation: MountPropagation.PROPAGATION_PRIVATE,
  } as Mount;

  it('are read-only, including the mounts below', () => {
    const [found] = boundedMounts([mount], { ...bounds, readonlyVolumes: true });
    assert.deepEqual([found?.readonly, found?.recursiveReadOnly], [true, true]);
    assert.deepEqual(boundedMounts([mount], bounds), [mount]);
  });

  it('do not allow mounts that appear later', () => {
    const shared = { ...mount, propagation: MountPropagation.PROPAGATION_HOST_TO_CONTAINER };
    assert.throws(() => boundedMounts([shared], { ...bounds, readonlyVolumes: true }), {
      code: 'RUNTIME_OUTSIDE_PROFILE',
      message: /\/data/,
    });
  });
});
