import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Init } from '../../../base/protobuf/index.ts';
import { criCodec } from '../../cri/contract/services.ts';
import type { ContainerConfig } from '../../cri/contract/contract.types.ts';
import { createCodecs } from '../../../base/protobuf/index.ts';
import type { ContainerAdjustment } from '../protocol/contract.types.ts';
import { nriContract } from '../protocol/methods.ts';
import { applyChanges } from './apply.ts';
import type { AppliedRequest } from './apply.ts';
import { changesOf } from './change.ts';
import { createMerge } from './merge.ts';
import { adjustmentMessage, ownersMessage } from './message.ts';

const adjustments = createCodecs(nriContract)<ContainerAdjustment>('ContainerAdjustment');
const configs = criCodec<ContainerConfig>('ContainerConfig');

/** A request as it comes from the wire. */
function request(more: Init<ContainerConfig> = {}): ContainerConfig {
  return configs.decode(
    configs.encode({
      metadata: { name: 'c', attempt: 0 },
      command: ['old'],
      envs: [
        { key: 'KEPT', value: Buffer.from('1') },
        { key: 'GONE', value: Buffer.from('2') },
      ],
      mounts: [{ containerPath: '/data/', hostPath: '/srv/a' }],
      devices: [{ containerPath: '/dev/x', hostPath: '/dev/null', permissions: 'rwm' }],
      annotations: { a: '1', b: '2' },
      ...more,
    }),
  );
}

function applied(
  adjust: Init<ContainerAdjustment>,
  { config = request(), hooks = [] }: { config?: ContainerConfig; hooks?: readonly string[] } = {},
): AppliedRequest {
  const merge = createMerge('c');
  merge.add('10-p', changesOf(adjustments.decode(adjustments.encode(adjust))));
  return applyChanges(config, merge.merged(), { hooks });
}

/** The changes of two plugins, one after the other. */
function ofTwo(first: Init<ContainerAdjustment>, second: Init<ContainerAdjustment>): AppliedRequest {
  const merge = createMerge('c');
  for (const [plugin, adjust] of [['10-p', first] as const, ['20-q', second] as const])
    merge.add(plugin, changesOf(adjustments.decode(adjustments.encode(adjust))));
  return applyChanges(request(), merge.merged(), { hooks: [] });
}

describe('an adjusted request', () => {
  for (const spelled of ['/cache/', '//cache', '/x/../cache', '/cache/.']) {
    const mount = (destination: string, source: string) => ({
      mounts: [{ destination, source, type: 'bind', options: ['bind'] }],
    });
    it(`has no two mounts at one path, however it is written: ${spelled}`, () => {
      assert.throws(() => ofTwo(mount('/cache', '/srv/a'), mount(spelled, '/srv/b')), {
        code: 'NRI_CONFLICT',
        message: /10-p and 20-q both set mount "\/cache"/,
      });
      const { config } = ofTwo(mount(spelled, '/srv/b'), { mounts: [{ destination: '-/cache' }] });
      assert.deepEqual(
        config.mounts.map(({ containerPath }) => containerPath),
        ['/data/'],
      );
    });
  }

  it('is refused if the name of a variable contains a part of its value', () => {
    for (const key of ['', 'KEPT=secret', '=secret'])
      assert.throws(
        () => applied({ env: [{ key, value: 'x' }] }),
        (thrown: Error) => {
          assert.match(thrown.message, /name of a variable.*\[NRI_BAD_ADJUSTMENT\]/);
          assert.doesNotMatch(JSON.stringify([thrown.message, thrown]), /secret/);
          return true;
        },
        key,
      );
  });

  for (const path of ['/dev/null', '/dev//null', '/dev/./null', '/dev/x/../null'])
    it(`is refused if it removes a device that every container has: ${path}`, () => {
      assert.throws(() => applied({ linux: { devices: [{ path: `-${path}` }] } }), {
        code: 'NRI_UNSUPPORTED',
        message: /every container has this device/,
      });
    });

  it('has the command, the variables and the annotations of the plugin', () => {
    const {
      config,
      beyond,
      adjustments: recorded,
    } = applied({
      args: ['new', '-x'],
      env: [{ key: 'A', value: 'secret' }, { key: '-GONE' }, { key: '-OF_IMAGE' }],
      annotations: { c: '3', '-a': '' },
    });
    assert.deepEqual([config.command, config.args], [['new', '-x'], []]);
    assert.deepEqual(
      config.envs.map(({ key, value }) => `${key}=${Buffer.from(value).toString()}`),
      ['KEPT=1', 'A=secret'],
    );
    assert.deepEqual(beyond.removedEnv, ['GONE', 'OF_IMAGE']);
    assert.deepEqual(beyond.annotations, { b: '2', c: '3' });
    assert.deepEqual(config.annotations, { a: '1', b: '2' }, 'the annotations of the kubelet stay');
    assert.doesNotMatch(JSON.stringify(recorded), /secret/);
  });

  it('has the mount of the plugin in place of a mount at the same path, also if the path is written differently', () => {
    const { config } = applied({
      mounts: [
        {
          destination: '/data',
          source: '/srv/b',
          type: 'bind',
          options: ['rbind', 'rslave', 'rro', 'noexec'],
        },
      ],
    });
    assert.deepEqual(
      config.mounts.map(
        ({ containerPath, hostPath, readonly, recursiveReadOnly, propagation, mountOptions }) => [
          ...[containerPath, hostPath, readonly, recursiveReadOnly, propagation, mountOptions],
        ],
      ),
      [['/data', '/srv/b', true, true, 1, ['noexec']]],
    );
    assert.deepEqual(applied({ mounts: [{ destination: '-/data' }] }).config.mounts, []);
  });

  it('has devices by their numbers, in place of requested devices', () => {
    const { config, beyond } = applied({
      linux: { devices: [{ path: '/dev/x', type: 'b', major: 8, minor: 1, fileMode: { value: 0o4600 } }] },
    });
    assert.deepEqual(config.devices, []);
    assert.deepEqual(beyond.devices, [
      { path: '/dev/x', type: 'b', major: 8, minor: 1, fileMode: 0o600, uid: 0, gid: 0 },
    ]);
    assert.deepEqual(applied({ linux: { devices: [{ path: '-/dev/x' }] } }).config.devices, []);
  });

  it('has the resources of the plugin, and keeps the values that the plugin does not set', () => {
    const resources = { cpuShares: 100, memoryLimitInBytes: 5, unified: { 'memory.high': '1' } };
    const { config } = applied(
      {
        linux: {
          resources: {
            memory: { limit: { value: 7 }, swap: { value: -1 } },
            cpu: { quota: { value: 1000 }, cpus: '0-1' },
            unified: { 'io.weight': '50' },
            hugepageLimits: [{ pageSize: '2MB', limit: 9 }],
          },
          oomScoreAdj: { value: -5 },
        },
      },
      { config: request({ linux: { resources } }) },
    );
    assert.deepEqual(config.linux?.resources, {
      ...{ cpuPeriod: 0, cpuQuota: 1000, cpuShares: 100, memoryLimitInBytes: 7, oomScoreAdj: -5 },
      ...{ cpusetCpus: '0-1', cpusetMems: '', hugepageLimits: [{ pageSize: '2MB', limit: 9 }] },
      unified: { 'memory.high': '1', 'io.weight': '50' },
      memorySwapLimitInBytes: -1,
    });
  });

  it('has "no limit" as the kernel writes it', () => {
    const [limit] = applied({ rlimits: [{ type: 'RLIMIT_CORE', soft: 1, hard: 2 ** 64 }] }).beyond.rlimits;
    assert.deepEqual(limit, { type: 'RLIMIT_CORE', soft: '1', hard: '18446744073709551615' });
  });

  it('has allowed hooks, always with a timeout', () => {
    const hooks = { createRuntime: [{ path: '/bin/hook', args: ['a'] }] };
    assert.deepEqual(applied({ hooks }, { hooks: ['/bin/hook'] }).beyond.hooks, [
      { hookName: 'createRuntime', path: '/bin/hook', args: ['a'], timeout: 300 },
    ]);
    assert.throws(() => applied({ hooks }, { hooks: ['/bin'] }), { code: 'NRI_NOT_ALLOWED' });
  });

  it('has no hook with a variable that makes it run another program', () => {
    const withVariable = (variable: string) =>
      applied({ hooks: { poststop: [{ path: '/bin/hook', env: [variable] }] } }, { hooks: ['/bin/hook'] });
    for (const variable of [
      'LD_PRELOAD=/x.so',
      'LD_AUDIT=/x',
      'BASH_ENV=/x',
      'PATH=/tmp',
      'PATH=/bin:',
      'ENV=/x',
    ])
      assert.throws(() => withVariable(variable), { code: 'NRI_NOT_ALLOWED' }, variable);
    for (const variable of ['PATH=/usr/local/sbin:/usr/bin:/bin', 'LEVEL=debug', 'LDFLAGS=x', 'ENVOY=1'])
      assert.deepEqual(withVariable(variable).beyond.hooks[0]?.env, [variable]);
  });

  const refused: Readonly<Record<string, readonly [Init<ContainerAdjustment>, string]>> = {
    'a tmpfs': [{ mounts: [{ destination: '/x', type: 'tmpfs', source: 'tmpfs' }] }, 'NRI_UNSUPPORTED'],
    'a bind mount of another type': [
      { mounts: [{ destination: '/x', type: 'proc', source: '/proc', options: ['bind'] }] },
      'NRI_UNSUPPORTED',
    ],
    'a mount option that gives permissions': [
      { mounts: [{ destination: '/x', type: 'bind', source: '/x', options: ['suid'] }] },
      'NRI_UNSUPPORTED',
    ],
    'the removal of /proc': [{ mounts: [{ destination: '-/proc/.' }] }, 'NRI_UNSUPPORTED'],
    'the removal of /dev/null': [{ linux: { devices: [{ path: '-/dev/null' }] } }, 'NRI_UNSUPPORTED'],
    'a device path with ".."': [
      { linux: { devices: [{ path: '/dev/../x', type: 'c', major: 1, minor: 3 }] } },
      'NRI_BAD_ADJUSTMENT',
    ],
    'a pipe': [
      { linux: { devices: [{ path: '/dev/p', type: 'p', major: 1, minor: 3 }] } },
      'NRI_BAD_ADJUSTMENT',
    ],
    'an unknown limit': [{ rlimits: [{ type: 'NOFILE', soft: 1, hard: 1 }] }, 'NRI_BAD_ADJUSTMENT'],
    'a soft limit above the hard limit': [
      { rlimits: [{ type: 'RLIMIT_CORE', soft: 2, hard: 1 }] },
      'NRI_BAD_ADJUSTMENT',
    ],
    'a resource of 0': [{ linux: { resources: { cpu: { quota: { value: 0 } } } } }, 'NRI_BAD_ADJUSTMENT'],
    'a reservation': [{ linux: { resources: { memory: { reservation: { value: 1 } } } } }, 'NRI_UNSUPPORTED'],
    'a class of block devices': [
      { linux: { resources: { blockioClass: { value: 'x' } } } },
      'NRI_UNSUPPORTED',
    ],
    'a class of RDT': [{ linux: { resources: { rdtClass: { value: 'x' } } } }, 'NRI_UNSUPPORTED'],
    'a device rule': [
      { linux: { resources: { devices: [{ allow: true, access: 'rwm' }] } } },
      'NRI_UNSUPPORTED',
    ],
    'a seccomp listener': [
      { linux: { seccompPolicy: { defaultAction: 'SCMP_ACT_NOTIFY', listenerPath: '/x' } } },
      'NRI_UNSUPPORTED',
    ],
    'an I/O priority': [{ linux: { ioPriority: { class: 1, priority: 1 } } }, 'NRI_UNSUPPORTED'],
    RDT: [{ linux: { rdt: { remove: true } } }, 'NRI_UNSUPPORTED'],
    'a memory policy': [{ linux: { memoryPolicy: { mode: 2, nodes: '0' } } }, 'NRI_UNSUPPORTED'],
    'a network device': [{ linux: { netDevices: { eth0: { name: 'x' } } } }, 'NRI_UNSUPPORTED'],
    'the removal of a namespace': [{ linux: { namespaces: [{ type: '-network' }] } }, 'NRI_UNSUPPORTED'],
  };
  for (const [what, [adjust, code]] of Object.entries(refused))
    it(`cannot have ${what}`, () => assert.throws(() => applied(adjust), { code, message: /10-p/ }));

  it('cannot replace an image volume', () => {
    const config = request({ mounts: [{ containerPath: '/v', image: { image: 'i' } }] });
    const mount = { destination: '/v', type: 'bind', source: '/x', options: ['rbind'] };
    assert.throws(() => applied({ mounts: [mount] }, { config }), { code: 'NRI_UNSUPPORTED' });
  });

  it('is shown to validating plugins after the merge, with its owners', () => {
    const adjust: Init<ContainerAdjustment> = {
      annotations: { a: '1', '-b': '' },
      env: [
        { key: '-X', value: '' },
        { key: 'Y', value: '2' },
      ],
      mounts: [{ destination: '-/m' }, { destination: '/n', type: 'bind', source: '/n', options: ['rbind'] }],
      args: ['x'],
      rlimits: [{ type: 'RLIMIT_CORE', soft: 1, hard: 1 }],
      linux: { oomScoreAdj: { value: 3 }, resources: { cpu: { shares: { value: 2 } } } },
    };
    const merge = createMerge('c');
    merge.add('10-p', changesOf(adjustments.decode(adjustments.encode(adjust))));
    const shown = adjustments.decode(adjustments.encode(adjustmentMessage(merge.merged())));
    const back = createMerge('c');
    back.add('10-p', changesOf(shown));
    assert.deepEqual(back.merged(), merge.merged());
    const owners = ownersMessage(merge.merged());
    assert.deepEqual(
      owners.compound?.find(({ key }) => key === 6),
      { key: 6, value: { owners: { Y: '10-p' } } },
    );
    assert.deepEqual(
      owners.simple?.find(({ key }) => key === 16),
      { key: 16, value: '10-p' },
    );
  });
});
