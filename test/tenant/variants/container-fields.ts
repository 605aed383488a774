import { join } from 'node:path';
import type { ContainerConfig } from '../../fixtures/pod.ts';
import type { Scene } from '../scene/scene.ts';
import { containerPart, long, never, resources, security, table } from './variant.ts';
import type { Variant } from './variant.ts';

type Mount = NonNullable<ContainerConfig['mounts']>[number];

const mount = (hostPath: string, more: Partial<Mount> = {}): Partial<ContainerConfig> => ({
  mounts: [{ hostPath, containerPath: '/mnt', ...more }],
});
const own = (scene: Scene, more: Partial<Mount>): Partial<ContainerConfig> =>
  mount(join(scene.kubeletRoot, 'pods/uid-of-tenant/volumes/v'), more);

/** No tenant may mount paths of the host. */
const hostMounts: readonly Variant[] = never(
  table(
    'mounts of the host',
    [
      ...[
        '/',
        '/etc',
        '/proc',
        '/sys',
        '/dev',
        '/root',
        '/var/lib/kubelet',
        '/var/lib/kubelet/pods',
        '/sys/fs/cgroup',
        '/proc/1/root',
        '/run',
        '/dev/kmsg',
      ].map((path) => [path, mount(path)] as const),
      ['a file', (scene: Scene) => mount(join(scene.host, 'etc/shadow'))],
      ['a folder', (scene: Scene) => mount(join(scene.host, 'etc'))],
      ['a folder, read-only', (scene: Scene) => mount(join(scene.host, 'etc'), { readonly: true })],
      ['a link', (scene: Scene) => mount(join(scene.host, 'root/etc'))],
      ['one that is missing', (scene: Scene) => mount(join(scene.host, 'made/by/tenant'))],
      ['the daemon’s socket', (scene: Scene) => mount(scene.stage.folders.socket)],
      ['the daemon’s state', (scene: Scene) => mount(scene.stage.folders.state)],
      ['the daemon’s data', (scene: Scene) => mount(scene.stage.folders.root)],
      ['the policy', (scene: Scene) => mount(scene.stage.folders.policy)],
      [
        'the victim’s volume',
        (scene: Scene) => mount(join(scene.kubeletRoot, 'pods/uid-of-web/volumes/secret')),
      ],
      [
        'the victim’s volume by ..',
        (scene: Scene) =>
          mount(join(scene.kubeletRoot, 'pods/uid-of-tenant') + '/../uid-of-web/volumes/secret'),
      ],
      [
        'the victim’s volume by a longer uid',
        (scene: Scene) => mount(join(scene.kubeletRoot, 'pods/uid-of-tenantx/v')),
      ],
      ['the victim’s logs', (scene: Scene) => mount(scene.logsOfVictim)],
      [
        'the victim’s files',
        (scene: Scene) => mount(join(scene.stage.folders.state, 'pods', scene.victim.web.id)),
      ],
      ['the victim’s root', (scene: Scene) => mount(`/proc/${scene.victim.web.pid}/root`)],
      ['the victim’s network', (scene: Scene) => mount(`/proc/${scene.victim.web.pid}/ns/net`)],
      [
        'all pods by its own folder',
        (scene: Scene) => mount(join(scene.kubeletRoot, 'pods/uid-of-tenant/..')),
      ],
      ['relative', mount('etc')],
      ['with a NUL', mount('/etc\0x')],
      ['two-way', (scene: Scene) => mount(join(scene.host, 'etc'), { propagation: 2 })],
    ],
    containerPart,
  ),
);

const ownMounts: readonly Variant[] = table(
  'mounts of its own',
  [
    ...[
      '/mnt',
      '/etc',
      '/etc/resolv.conf',
      '/etc/hosts',
      '/dev',
      '/dev/shm',
      '/proc',
      '/proc/sys',
      '/sys',
      '/sys/fs/cgroup',
      '/',
      '/../../etc',
      'relative',
      '',
      '/a\nb',
      '/.portcullis-launcher',
      '/dev/termination-log',
      '/run/secrets',
    ].map(
      (containerPath) =>
        [`at ${JSON.stringify(containerPath)}`, (scene: Scene) => own(scene, { containerPath })] as const,
    ),
    ['two-way', (scene: Scene) => own(scene, { propagation: 2 })],
    ['from the host', (scene: Scene) => own(scene, { propagation: 1 })],
    ['of an unknown propagation', (scene: Scene) => own(scene, { propagation: 7 as 0 })],
    ['relabelled', (scene: Scene) => own(scene, { selinuxRelabel: true })],
    ['recursively read-only', (scene: Scene) => own(scene, { readonly: true, recursiveReadOnly: true })],
    [
      'with mapped ids',
      (scene: Scene) =>
        own(scene, {
          uidMappings: [{ hostId: 0, containerId: 0, length: 65_536 }],
          gidMappings: [{ hostId: 0, containerId: 0, length: 65_536 }],
        }),
    ],
    ['with options', (scene: Scene) => own(scene, { mountOptions: ['dev', 'suid', 'rw', 'shared'] })],
    [
      'five thousand',
      (scene: Scene) => ({
        mounts: Array.from(
          { length: 5000 },
          (_, index) => own(scene, { containerPath: `/mnt/${index}` }).mounts?.[0] ?? {},
        ),
      }),
    ],
  ],
  containerPart,
);

const device = (hostPath: string, permissions = 'rwm') => ({
  devices: [{ hostPath, containerPath: '/dev/x', permissions }],
});

const devices: readonly Variant[] = never(
  table(
    'devices',
    [
      ...[
        '/dev/kmsg',
        '/dev/mem',
        '/dev/fuse',
        '/dev/kvm',
        '/dev/net/tun',
        '/dev',
        '/dev/vda',
        '/dev/../dev/kmsg',
        'dev/null',
        '',
      ].map((path) => [JSON.stringify(path), device(path)] as const),
      ['to read', device('/dev/kmsg', 'r')],
      ['with odd permissions', device('/dev/kmsg', 'rwmx')],
      ['CDI', { CDIDevices: [{ name: 'vendor.example/disk=whole' }] }],
      ['CDI of no vendor', { CDIDevices: [{ name: '../../etc=passwd' }] }],
      ['CDI by an annotation', { annotations: { 'cdi.k8s.io/x': 'vendor.example/disk=whole' } }],
    ],
    containerPart,
  ),
);

/** cri-api NamespaceMode: the pod's network and IPC, the processes of a target. */
const joining = (targetId: string) => ({ network: 0, pid: 3, ipc: 0, targetId }) as const;

const confinement: readonly Variant[] = [
  ...never(
    table(
      'privileges',
      [
        ['privileged', { privileged: true }],
        ['the host’s processes', { namespaceOptions: { network: 0, pid: 2, ipc: 0 } }],
        [
          'the victim’s processes',
          (scene: Scene) => ({ namespaceOptions: joining(scene.victim.web.containerId) }),
        ],
        ['the victim’s, by its pod', (scene: Scene) => ({ namespaceOptions: joining(scene.victim.web.id) })],
        [
          'the victim’s, by a prefix',
          (scene: Scene) => ({ namespaceOptions: joining(scene.victim.web.containerId.slice(0, 13)) }),
        ],
        ['a target by a path', { namespaceOptions: joining('../../proc/1') }],
        ['no target', { namespaceOptions: { network: 0, pid: 3, ipc: 0 } }],
        [
          'a user namespace of its own kind',
          {
            namespaceOptions: {
              network: 0,
              pid: 1,
              ipc: 0,
              usernsOptions: { mode: 0, uids: [{ hostId: 0, containerId: 0, length: 1 }], gids: [] },
            },
          },
        ],
      ],
      security,
    ),
  ),
  // The pod decides about both: the values of its container are not read.
  ...table(
    'privileges',
    [
      ['the host’s network, in a pod with its own', { namespaceOptions: { network: 2, pid: 1, ipc: 0 } }],
      ['the host’s IPC, in a pod with its own', { namespaceOptions: { network: 0, pid: 1, ipc: 2 } }],
    ],
    security,
  ),
  ...table('devices', [['"/dev/null"', device('/dev/null')]], containerPart),
  ...table(
    'confinement',
    [
      ...['ALL', 'SYS_ADMIN', 'NET_ADMIN', 'SYS_MODULE', 'BPF', 'NOT_ONE', 'CAP_CAP_SYS_ADMIN', 'a\nb'].map(
        (name) =>
          [`capability ${JSON.stringify(name)}`, { capabilities: { addCapabilities: [name] } }] as const,
      ),
      ['ambient capabilities', { capabilities: { addAmbientCapabilities: ['SYS_ADMIN'] } }],
      ['seccomp unconfined', { seccomp: { profileType: 1, localhostRef: '' } }],
      ['seccomp by a climbing path', { seccomp: { profileType: 2, localhostRef: '../../etc/shadow' } }],
      [
        'seccomp by a path of the host',
        (scene: Scene) => ({
          seccomp: { profileType: 2 as const, localhostRef: join(scene.host, 'etc/shadow') },
        }),
      ],
      ['seccomp of an unknown type', { seccomp: { profileType: 9 as 0, localhostRef: '' } }],
      ['seccomp by a deprecated path', { seccompProfilePath: 'localhost//etc/shadow' }],
      ['AppArmor unconfined', { apparmor: { profileType: 1, localhostRef: '' } }],
      ['AppArmor by a path', { apparmor: { profileType: 2, localhostRef: '../../etc/shadow' } }],
      ['AppArmor by its old field', { apparmorProfile: 'localhost/unconfined' }],
      [
        'SELinux of the host',
        { selinuxOptions: { user: 'system_u', role: 'system_r', type: 'spc_t', level: 's0' } },
      ],
      [
        'SELinux of another level',
        { selinuxOptions: { user: '', role: '', type: 'container_t', level: 's0:c1,c2' } },
      ],
      ['SELinux by a line feed', { selinuxOptions: { user: 'a\nb', role: '', type: '', level: '' } }],
      ['nothing masked', { maskedPaths: [], readonlyPaths: [] }],
      ['masked by a climbing path', { maskedPaths: ['/../../etc/shadow'] }],
      ['all masked', { maskedPaths: ['/'] }],
      ['masked by nothing', { maskedPaths: [''] }],
      ['all read-only', { readonlyPaths: ['/'] }],
      ['nothing but one path', { maskedPaths: ['/proc/kcore'], readonlyPaths: ['/proc/irq'] }],
      ['masked above all', { maskedPaths: ['/proc'], readonlyPaths: ['/sys'] }],
      [
        'masks of the host',
        (scene: Scene) => ({
          maskedPaths: [join(scene.host, 'etc/shadow')],
          readonlyPaths: [join(scene.host, 'etc')],
        }),
      ],
      ['user 4294967296', { runAsUser: { value: 4_294_967_296 } }],
      ['user by a line', { runAsUsername: 'root\nx:0:0' }],
      ['user -1', { runAsUser: { value: -1 } }],
      ['groups of the host', { supplementalGroups: [0, 1, 6, 998] }],
      ['group alone', { runAsGroup: { value: 0 } }],
      ['read-only root', { readonlyRootfs: true }],
    ],
    security,
  ),
];

const limits: readonly Variant[] = table(
  'resources',
  [
    [
      'giant memory',
      { memoryLimitInBytes: Number.MAX_SAFE_INTEGER, memorySwapLimitInBytes: Number.MAX_SAFE_INTEGER },
    ],
    ['negative memory', { memoryLimitInBytes: -2 }],
    ['one byte', { memoryLimitInBytes: 1 }],
    ['giant CPU', { cpuShares: 1e15, cpuQuota: 1e15, cpuPeriod: 1e15 }],
    ['quota without period', { cpuQuota: 1000 }],
    ['processors that there are not', { cpusetCpus: '0-4096', cpusetMems: '0-64' }],
    ['processors by a line feed', { cpusetCpus: '0\n1' }],
    ['score of the host’s guard', { oomScoreAdj: -1000 }],
    ['score beyond', { oomScoreAdj: 100_000 }],
    ['huge pages', { hugepageLimits: [{ pageSize: '../../x', limit: 1 }] }],
    ['unified by a climbing name', { unified: { '../memory.max': '1' } }],
    ['unified by processes', { unified: { 'cgroup.procs': '1' } }],
    ['unified by controllers', { unified: { 'cgroup.subtree_control': '-memory' } }],
    ['unified memory', { unified: { 'memory.max': '64M' } }],
  ],
  resources,
);

const images: readonly Variant[] = never(
  table(
    'images',
    [
      ['the victim’s, by id', (scene: Scene) => ({ image: { image: scene.images.victim } })],
      ['the victim’s, by name', { image: { image: 'good.test/victim/app:1' } }],
      [
        'the victim’s, called the tenant’s',
        (scene: Scene) => ({
          image: { image: scene.images.victim, userSpecifiedImage: 'good.test/tenant/app:1' },
        }),
      ],
      ['the node agent’s', (scene: Scene) => ({ image: { image: scene.images.infra } })],
      [
        'the node agent’s, by a prefix',
        (scene: Scene) => ({ image: { image: scene.images.infra.slice(7, 19) } }),
      ],
      ['none', { image: { image: '' } }],
      ['a path', { image: { image: '../../root' } }],
      ['a line feed', { image: { image: 'good.test/tenant/app:1\n' } }],
      [
        'of the victim, as a volume',
        (scene: Scene) => ({
          mounts: [{ hostPath: '', containerPath: '/mnt', image: { image: scene.images.victim } }],
        }),
      ],
      [
        'as a volume by a climbing path',
        (scene: Scene) => ({
          mounts: [
            {
              hostPath: '',
              containerPath: '/mnt',
              image: { image: scene.images.tenant },
              imageSubPath: '../../..',
            },
          ],
        }),
      ],
    ],
    containerPart,
  ),
);

const variable = (key: string, value = 'x') => ({ envs: [{ key, value: Buffer.from(value) }] });

const process: readonly Variant[] = table(
  'process',
  [
    ['a log that climbs', { logPath: '../web/main/0.log' }],
    ['a log of the host', { logPath: '/etc/x' }],
    ['a log in a folder that is a file', { logPath: 'main/0.log/x' }],
    ['a log with a line feed', { logPath: 'a\nb' }],
    ['a log of 300 letters', { logPath: long(300) }],
    ['no log', { logPath: '' }],
    ['works in /proc/self/fd/7', { workingDir: '/proc/self/fd/7' }],
    ['works in ..', { workingDir: '/tmp/../../..' }],
    ['works in a relative folder', { workingDir: 'x' }],
    ['works in one that is missing', { workingDir: '/made/by/tenant' }],
    ['an environment with a line feed', variable('A=1\nB')],
    ['an environment with a NUL', variable('A', 'a\0b')],
    ['LD_PRELOAD', variable('LD_PRELOAD', '/tmp/x.so')],
    ['NOTIFY_SOCKET', variable('NOTIFY_SOCKET', '/run/x')],
    ['_CONTAINERS_USERNS', variable('_CONTAINERS_USERNS_CONFIGURED', '1')],
    ['_LIBCRUN', variable('LIBCRUN_DEBUG', '1')],
    ['a megabyte of environment', variable('A', long(1_000_000))],
    ['a program of the host', { command: ['/proc/self/exe'] }],
    ['a program that is missing', { command: ['/no/such'] }],
    ['a program with a line feed', { command: ['a\nb'] }],
    ['ten thousand words', { args: Array.from({ length: 10_000 }, () => 'x') }],
    ['a terminal', { tty: true, stdin: true }],
    ['an unknown signal to stop', { stopSignal: 999 as 0 }],
    [
      'annotations of runtimes',
      {
        annotations: {
          'run.oci.hooks.stdout': '/etc/x',
          'org.systemd.property.Delegate': 'true',
          'io.kubernetes.container.ports': '[{"name":"x","hostPort":22}]',
        },
      },
    ],
    ['ports of others', { annotations: { 'io.kubernetes.container.ports': long(100_000, '[') } }],
    [
      'labels of the victim',
      { labels: { 'io.kubernetes.pod.uid': 'uid-of-web', 'io.kubernetes.container.name': 'main' } },
    ],
  ],
  containerPart,
);

const containerNames: readonly Variant[] = table(
  'container names',
  [
    ['empty', ''],
    ['..', '..'],
    ['a path', '../../x'],
    ['a line feed', 'a\nb'],
    ['a NUL', 'a\0b'],
    ['300 letters', long(300)],
    ['a look-alike', 'mаin'],
    ['__proto__', '__proto__'],
  ].map(([what = '', name = '']) => [what, { metadata: { name, attempt: 0 } }] as const),
  containerPart,
);

export const containerFieldVariants: readonly Variant[] = [
  ...hostMounts,
  ...ownMounts,
  ...devices,
  ...confinement,
  ...limits,
  ...images,
  ...process,
  ...containerNames,
];
