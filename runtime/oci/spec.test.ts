import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Settings } from '../../entitlements/index.ts';
import type { LinuxContainerResources, Mount } from '../cri/contract/contract.types.ts';
import { containerMounts, rootfsPropagation } from './mounts.ts';
import { noFeatures } from './handler-features.ts';
import { toOciResources } from './resources.ts';
import { generateSpec, serialiseSpec } from './spec.ts';
import type { SpecInput } from './spec.ts';
import { nothingAsked } from './profile-bounds.ts';

const podFiles = {
  shm: '/run/p/shm',
  resolvConf: '/run/p/resolv.conf',
  hostname: '/run/p/hostname',
  hosts: '/run/p/hosts',
};
const ownCgroups = { namespace: true, writable: false, delegated: false };
const mount = (part: Partial<Mount>): Mount =>
  ({
    containerPath: '/data',
    hostPath: '/srv',
    readonly: false,
    propagation: 0,
    uidMappings: [],
    gidMappings: [],
    recursiveReadOnly: false,
    mountOptions: [],
    ...part,
  }) as Mount;
const mounts = (asked: Mount[], part: object = {}) =>
  containerMounts({
    asked,
    podFiles,
    readonlyRootfs: false,
    writableSys: false,
    cgroups: ownCgroups,
    hostNetwork: false,
    features: noFeatures,
    userNamespace: undefined,
    ...part,
  });

const settings: Settings = {
  capabilities: {
    bounding: ['KILL'],
    effective: ['KILL'],
    permitted: ['KILL'],
    inheritable: [],
    ambient: [],
  },
  seccomp: {
    bpf: Uint8Array.from([6, 0, 0, 0, 0, 0, 0xff, 0x7f]),
    oci: {
      defaultAction: 'SCMP_ACT_ERRNO',
      architectures: ['SCMP_ARCH_X86_64'],
      syscalls: [
        {
          names: ['read'],
          action: 'SCMP_ACT_ALLOW',
          args: [{ index: 0, value: 0xffffffff_ffffffffn, op: 'SCMP_CMP_EQ' }],
        },
      ],
    },
  },
  noNewPrivileges: true,
  maskedPaths: ['/proc/kcore'],
  readonlyPaths: ['/proc/sys'],
  devices: [{ allow: false, type: 'a', access: 'rwm' }],
  hostDevices: false,
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1n, hard: 2n }],
  hostNamespaces: [],
  networkClass: 'user',
  readonlyRootfs: false,
  writableSys: false,
  writableCgroups: false,
  degraded: [],
  digest: 'd',
};
const input: SpecInput = {
  rootfs: '/r',
  args: ['/bin/sh'],
  env: ['A=1'],
  cwd: '/',
  user: { uid: 1, gid: 2, additionalGids: [2] },
  terminal: false,
  settings,
  labels: {},
  runtime: 'crun',
  features: noFeatures,
  userNamespace: undefined,
  mounts: [],
  devices: [],
  resources: undefined,
  cgroupsPath: '/portcullis/p/c',
  podFiles,
  namespaces: { network: '/run/ns/net', ipc: '/run/ns/ipc', uts: '/run/ns/uts' },
  hostPid: false,
  cgroups: { ...ownCgroups, namespace: false },
  oomScoreFloor: -1000,
  annotations: {},
};

test('mounts: shallowest first, and a requested mount replaces ours', () => {
  const made = mounts([
    mount({ containerPath: '/data/a/b' }),
    mount({ containerPath: '/data//' }),
    mount({ containerPath: '/etc/hosts', hostPath: '/x' }),
  ]);
  const destinations = made.map((one) => one.destination);
  assert.deepEqual(destinations.slice(-3), ['/data', '/etc/hosts', '/data/a/b']);
  assert.equal(destinations.filter((one) => one === '/etc/hosts').length, 1);
});

test('mounts below a read-only path are read-only, too', () => {
  const readonlyPathsFor = (
    paths: string[],
    destinations: string[],
    maskedPaths: string[] = [],
  ): readonly string[] =>
    generateSpec({
      ...input,
      settings: { ...settings, readonlyPaths: paths, maskedPaths },
      mounts: destinations.map((containerPath) => mount({ containerPath })),
    }).linux.readonlyPaths;
  assert.deepEqual(readonlyPathsFor(['/srv'], ['/srv/x/y', '/srv', '/srv-2/z', '//srv/./z/']), [
    '/srv',
    '/srv/z',
    '/srv/x/y',
  ]);
  assert.deepEqual(readonlyPathsFor(['/proc/sys'], ['/srv/x']), ['/proc/sys']);
  // The cover of a masked path is a mount as well.
  assert.deepEqual(readonlyPathsFor(['/srv'], [], ['/proc/kcore', '/srv/secret']), ['/srv', '/srv/secret']);
});

test('mounts: propagation and read-only become options; the root gets the widest propagation', () => {
  assert.deepEqual(mounts([mount({ readonly: true, propagation: 1 })]).at(-1)?.options, [
    'rbind',
    'rslave',
    'ro',
  ]);
  assert.deepEqual(mounts([mount({ mountOptions: ['noexec', 'nodev', 'noexec'] })]).at(-1)?.options, [
    'rbind',
    'rprivate',
    'rw',
    'noexec',
    'nodev',
  ]);
  assert.equal(rootfsPropagation([mount({}), mount({ propagation: 2 })]), 'rshared');
  assert.equal(rootfsPropagation([mount({})]), undefined);
  // A request can hold more mounts than a call can have arguments.
  assert.equal(rootfsPropagation(Array.from({ length: 300_000 }, () => mount({ propagation: 1 }))), 'rslave');
});

for (const [name, part, code] of [
  ['a relative container path', { containerPath: 'data' }, 'RUNTIME_BAD_MOUNT'],
  ['a relative host path', { hostPath: 'srv' }, 'RUNTIME_BAD_MOUNT'],
  [
    'a mount that maps uids alone',
    { uidMappings: [{ hostId: 0, containerId: 0, length: 1 }] },
    'RUNTIME_BAD_MOUNT',
  ],
  ['an image volume that was not mounted', { image: { image: 'x' }, hostPath: '' }, 'RUNTIME_BAD_MOUNT'],
  ['a mount option that permits something', { mountOptions: ['noexec', 'exec'] }, 'RUNTIME_BAD_MOUNT'],
  ['two mount options in one string', { mountOptions: ['noexec,suid'] }, 'RUNTIME_BAD_MOUNT'],
  [
    'a recursive read-only mount without the observed feature',
    { readonly: true, recursiveReadOnly: true },
    'RUNTIME_RRO_UNSUPPORTED',
  ],
] as const) {
  test(`mounts: ${name} is refused`, () =>
    assert.throws(() => mounts([mount(part as Partial<Mount>)]), { code }));
}

test('mounts: a container path with ".." is normalized, and stays below the root of the container', () => {
  assert.equal(mounts([mount({ containerPath: '/data/../../etc/./x/' })]).at(-1)?.destination, '/etc/x');
});

const ids = { hostId: 100_000, containerId: 0, length: 65_536 };
const userNamespace = { path: '/run/p/user', uids: ids, gids: ids };

test('a user namespace is joined by its path; crun also gets the ids, for its devices', () => {
  const crun = generateSpec({ ...input, userNamespace });
  assert.ok(crun.linux.namespaces.some(({ type, path }) => type === 'user' && path === '/run/p/user'));
  assert.deepEqual(crun.linux.uidMappings, [{ containerID: 0, hostID: 100_000, size: 65_536 }]);
  const runc = generateSpec({ ...input, userNamespace, runtime: 'runc' });
  assert.equal(
    runc.linux.uidMappings,
    undefined,
    'runc 1.2 warns if it gets both, and runc 1.1 needs both, but it is refused earlier',
  );
  assert.ok(!generateSpec(input).linux.namespaces.some(({ type }) => type === 'user'));
});

test('terminals belong to the group 5, if the namespace has it', () => {
  const terminals = (gids: object): readonly string[] =>
    mounts([], { userNamespace: { ...userNamespace, gids } }).find(
      ({ destination }) => destination === '/dev/pts',
    )?.options ?? [];
  assert.ok(terminals(ids).includes('gid=5'));
  assert.ok(!terminals({ ...ids, length: 5 }).includes('gid=5'));
});

function resources(part: Partial<LinuxContainerResources>): LinuxContainerResources {
  return { ...nothingAsked, ...part };
}

test('resources: zero and empty values request nothing', () => {
  assert.deepEqual(toOciResources(undefined), {});
  assert.deepEqual(toOciResources(resources({ memoryLimitInBytes: 1024 })), { memory: { limit: 1024 } });
});

test('the spec has the compiled confinement, joins the namespaces of the pod, and has a separate PID namespace', () => {
  const spec = generateSpec(input);
  assert.deepEqual(spec.process.capabilities.bounding, ['CAP_KILL']);
  assert.equal(spec.process.noNewPrivileges, true);
  assert.deepEqual(
    spec.linux.namespaces.map((one) => one.type),
    ['mount', 'pid', 'network', 'ipc', 'uts'],
  );
  assert.equal(spec.linux.namespaces.find((one) => one.type === 'network')?.path, '/run/ns/net');
  assert.deepEqual(spec.linux.maskedPaths, ['/proc/kcore']);
  assert.equal(spec.hostname, undefined);
});

test('the spec: crun gets the compiled filter, and runc only the OCI form', () => {
  const annotation = 'run.oci.seccomp_bpf_data';
  assert.equal(
    generateSpec(input).annotations[annotation],
    Buffer.from(settings.seccomp?.bpf ?? []).toString('base64'),
  );
  const runc = generateSpec({ ...input, runtime: 'runc' });
  assert.equal(runc.annotations[annotation], undefined);
  assert.equal(runc.linux.seccomp, settings.seccomp?.oci);
});

test('the spec: the host’s PID namespace is shared if the spec lists no PID namespace', () => {
  assert.equal(
    generateSpec({ ...input, hostPid: true }).linux.namespaces.some((one) => one.type === 'pid'),
    false,
  );
});

test('the spec: an OOM score below what this daemon may set is raised to it', () => {
  const asked = resources({ oomScoreAdj: -998 });
  assert.equal(generateSpec({ ...input, resources: asked, oomScoreFloor: 0 }).process.oomScoreAdj, 0);
  assert.equal(generateSpec({ ...input, resources: asked }).process.oomScoreAdj, -998);
});

test('the spec’s JSON: 64-bit values are exact integers', () => {
  assert.match(serialiseSpec(generateSpec(input)), /"value":18446744073709551615,/);
});

test('cgroups: the mount of the host for a view of all cgroups, and bounds on those that a container creates', () => {
  const generated = (cgroups: SpecInput['cgroups'], resources?: SpecInput['resources']) => {
    const spec = generateSpec({ ...input, cgroups, resources });
    return {
      mount: spec.mounts.find(({ destination }) => destination === '/sys/fs/cgroup'),
      namespace: spec.linux.namespaces.some(({ type }) => type === 'cgroup'),
      unified: spec.linux.resources.unified,
    };
  };
  const own = generated(ownCgroups);
  assert.deepEqual([own.mount?.type, own.namespace, own.unified], ['cgroup', true, undefined]);
  assert.ok(own.mount?.options.includes('ro'));
  const hosts = generated({
    namespace: false,
    writable: true,
    delegated: false,
    hostFolder: '/sys/fs/cgroup',
  });
  assert.deepEqual(
    [hosts.mount?.type, hosts.mount?.source, hosts.namespace, hosts.unified],
    ['bind', '/sys/fs/cgroup', false, undefined],
  );
  assert.ok(hosts.mount?.options.includes('rw') && hosts.mount.options.includes('bind'));
  const asked = { ...nothingAsked, unified: { 'memory.min': '4096' } };
  const delegated = generated({ namespace: true, writable: true, delegated: true }, asked);
  assert.deepEqual([delegated.mount?.type, delegated.namespace], ['cgroup', true]);
  assert.ok(delegated.mount?.options.includes('rw'));
  assert.equal(delegated.unified?.['memory.min'], '4096');
  assert.match(delegated.unified['cgroup.max.descendants'] ?? '', /^\d+$/);
  assert.match(delegated.unified['cgroup.max.depth'] ?? '', /^\d+$/);
});
