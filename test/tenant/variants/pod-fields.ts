import { join } from 'node:path';
import { clusterAddress, gateway, hostAddress, ports } from '../scene/scene.ts';
import type { Scene } from '../scene/scene.ts';
import { long, never, podLinux, podPart, podSecurity, table } from './variant.ts';
import type { Variant } from './variant.ts';

const dns = (servers: string[], searches: string[] = [], options: string[] = []) => ({
  dnsConfig: { servers, searches, options },
});

const resolvers: readonly Variant[] = table(
  'DNS',
  [
    ['the gateway', dns([gateway.four])],
    ['the victim', (scene: Scene) => dns([scene.victim.web.address])],
    ['loopback', dns(['127.0.0.1', '::1'])],
    ['the host', dns([hostAddress])],
    ['everywhere', dns(['0.0.0.0', '::'])],
    ['no address', dns(['ns.example.com'])],
    ['a line feed', dns(['10.0.0.1\nsearch victim'])],
    ['a port', dns(['10.0.0.1:5353'])],
    ['a thousand', dns(Array.from({ length: 1000 }, (_, index) => `10.9.${index >> 8}.${index & 255}`))],
    [
      'search of the victim',
      dns([gateway.four], ['victim.pods.portcullis.internal', 'victim.svc.cluster.local']),
    ],
    ['search of 10,000 letters', dns([], [long(10_000)])],
    ['search with a blank', dns([], ['a b'])],
    ['option with a line feed', dns([], [], ['ndots:1\nnameserver 6.6.6.6'])],
    ['options of all sorts', dns([], [], ['ndots:15', 'rotate', 'inet6', 'no-check-names', 'debug'])],
  ],
  podPart,
);

const tcp = 0;
const udp = 1;
const mapping = (hostPort: number, protocol: 0 | 1 | 2 = tcp, hostIp = '', containerPort = 8080) => ({
  portMappings: [{ protocol, hostPort, hostIp, containerPort }],
});

/** No ceiling of a tenant allows host ports. */
const hostPorts: readonly Variant[] = never(
  table(
    'host ports',
    [
      ['ssh', mapping(ports.ssh)],
      ['the agent’s', mapping(ports.agent)],
      ['DNS', mapping(53, udp)],
      ['DNS of the gateway', mapping(53, udp, gateway.four)],
      ['DNS over TCP', mapping(53, tcp, gateway.four)],
      ['the victim’s', mapping(ports.hostPort)],
      ['the victim’s, of one address', mapping(ports.hostPort, tcp, hostAddress)],
      ['the victim’s ingress port', mapping(ports.ingress)],
      ['of a service’s address', mapping(80, tcp, clusterAddress)],
      ['below 1024', mapping(443)],
      ['free', mapping(31_000)],
      ['free, udp', mapping(31_001, udp)],
      ['free, sctp', mapping(31_002, 2)],
      ['free, of loopback', mapping(31_003, tcp, '127.0.0.1')],
      ['free, of the victim’s address', (scene: Scene) => mapping(31_004, tcp, scene.victim.web.address)],
      ['free, of all', mapping(31_005, tcp, '0.0.0.0')],
      ['free, of all, IPv6', mapping(31_006, tcp, '::')],
      ['of an address that is none', mapping(31_007, tcp, 'localhost')],
      ['of an address with more behind it', mapping(31_008, tcp, '10.0.0.1/8; accept')],
      ['twice', { portMappings: [...mapping(31_009).portMappings, ...mapping(31_009).portMappings] }],
      ['to port 0', mapping(31_010, tcp, '', 0)],
      ['negative', mapping(-22)],
      ['65536 + 22', mapping(65_558)],
      ['an unknown protocol', mapping(31_011, 9 as 2)],
      [
        'five hundred',
        {
          portMappings: Array.from(
            { length: 500 },
            (_, index) => mapping(32_000 + index).portMappings[0] ?? mapping(1).portMappings[0]!,
          ),
        },
      ],
    ],
    podPart,
  ),
);

const sysctls: readonly Variant[] = table(
  'sysctls',
  (
    [
      ['a safe one', { 'net.ipv4.tcp_syncookies': '1' }],
      ['its own forwarding', { 'net.ipv4.ip_forward': '1' }],
      ['its own redirects', { 'net.ipv4.conf.all.accept_redirects': '1' }],
      ['congestion control', { 'net.ipv4.tcp_allowed_congestion_control': 'cubic' }],
      ['connection tracking', { 'net.netfilter.nf_conntrack_max': '1' }],
      ['buckets of connection tracking', { 'net.netfilter.nf_conntrack_buckets': '4096' }],
      ['liberal connection tracking', { 'net.netfilter.nf_conntrack_tcp_be_liberal': '1' }],
      ['buffers of all', { 'net.core.rmem_max': '1' }],
      ['the queue of all links', { 'net.core.default_qdisc': 'noqueue' }],
      ['the compiler of BPF', { 'net.core.bpf_jit_harden': '0' }],
      ['bridged frames', { 'net.bridge.bridge-nf-call-iptables': '0' }],
      ['neighbours', { 'net.ipv4.neigh.default.gc_thresh1': '0' }],
      ['logging of namespaces', { 'net.netfilter.nf_log_all_netns': '1' }],
      ['core pattern', { 'kernel.core_pattern': '|/bin/sh' }],
      ['core pattern by a value', { 'kernel.shm_rmid_forced': '1+kernel.core_pattern=|/bin/sh' }],
      ['core pattern by a path', { 'net/ipv4/../../kernel/core_pattern': 'x' }],
      ['core pattern by dots', { 'net.ipv4/../../kernel.core_pattern': 'x' }],
      ['the host’s name', { 'kernel.hostname': 'x' }],
      ['modprobe', { 'kernel.modprobe': '/bin/sh' }],
      ['pid_max', { 'kernel.pid_max': '301' }],
      ['printk', { 'kernel.printk_ratelimit': '6' }],
      ['vm', { 'vm.stat_interval': '2' }],
      ['vm.overcommit', { 'vm.overcommit_memory': '2' }],
      ['fs', { 'fs.file-max': '100' }],
      ['files watched', { 'fs.inotify.max_user_watches': '1' }],
      ['user namespaces', { 'user.max_user_namespaces': '0' }],
      ['shared memory', { 'kernel.shmmax': '1', 'kernel.msgmax': '1' }],
      ['message queues', { 'fs.mqueue.msg_max': '10' }],
      ['a link of the host', { 'net.ipv4.conf.uplink0.forwarding': '0' }],
      ['a value of a megabyte', { 'net.core.somaxconn': long(1_000_000, '1') }],
      ['a value with a line feed', { 'net.core.somaxconn': '1\n2' }],
      ['an empty one', { '': '' }],
    ] as const
  ).map(([what, more]) => [what, { sysctls: more }] as const),
  podLinux,
);

/** Next to the parent of the stage's pods, and named after it: another run of this suite has another name. */
const beside = (rest: string) => (scene: Scene) => ({
  cgroupParent: `${scene.stage.cgroupParent}.other${rest}`,
});

const cgroupParents: readonly Variant[] = table(
  'cgroup parents',
  [
    ['climbing', beside('/../../x')],
    ['climbing by dots alone', { cgroupParent: '..' }],
    ['with a NUL', beside('\0x')],
    ['a slice', { cgroupParent: 'tenant-suite.slice' }],
    ['a line feed', beside('\nx')],
    ['255 letters and more', beside(long(300))],
    ['deep', beside('/a'.repeat(40))],
  ],
  podLinux,
);

const logFolders: readonly Variant[] = table(
  'log folders',
  [
    ['relative', { logDirectory: 'logs' }],
    ['climbing', (scene: Scene) => ({ logDirectory: join(scene.stage.logs, 'x') + '/../web' })],
    ['with a NUL', (scene: Scene) => ({ logDirectory: `${scene.stage.logs}/x\0y` })],
    ['below a file', (scene: Scene) => ({ logDirectory: join(scene.host, 'etc/hosts/x') })],
    ['with a name of 300 letters', (scene: Scene) => ({ logDirectory: join(scene.stage.logs, long(300)) })],
    ['none', { logDirectory: '' }],
  ],
  podPart,
);

/** cri-api NamespaceMode. */
const [pod, container, node, target] = [0, 1, 2, 3] as const;
const mapped = (hostId: number, length = 65_536) => [{ hostId, containerId: 0, length }];

const namespaces: readonly Variant[] = [
  ...never(
    table(
      'namespaces of the pod',
      [
        ['the host’s network', { namespaceOptions: { network: node, pid: container, ipc: pod } }],
        ['the host’s processes', { namespaceOptions: { network: pod, pid: node, ipc: pod } }],
        ['the host’s IPC', { namespaceOptions: { network: pod, pid: container, ipc: node } }],
        ['all of the host’s', { namespaceOptions: { network: node, pid: node, ipc: node } }],
        ['a target’s processes', { namespaceOptions: { network: pod, pid: target, ipc: pod } }],
        ['a network by a target', { namespaceOptions: { network: target, pid: container, ipc: pod } }],
        ['an unknown mode', { namespaceOptions: { network: 9 as 0, pid: container, ipc: pod } }],
        ['privileged', { privileged: true }],
      ],
      podSecurity,
    ),
  ),
  ...table(
    'namespaces of the pod',
    [
      ['shared processes', { namespaceOptions: { network: pod, pid: pod, ipc: pod } }],
      [
        'a target named',
        (scene: Scene) => ({
          namespaceOptions: {
            network: pod,
            pid: pod,
            ipc: pod,
            targetId: scene.victim.web.containerId,
          } as const,
        }),
      ],
    ],
    podSecurity,
  ),
  ...table(
    'user namespaces',
    (
      [
        ['an ordinary one', mapped(400_000), mapped(400_000)],
        ['the host’s root', mapped(0), mapped(0)],
        ['all of the host', mapped(0, 4_294_967_295), mapped(0, 4_294_967_295)],
        ['overflowing', mapped(4_294_967_290), mapped(4_294_967_290)],
        ['of length 0', mapped(400_000, 0), mapped(400_000, 0)],
        ['users and groups apart', mapped(400_000), mapped(500_000)],
        ['none', [], []],
        ['negative', mapped(-1), mapped(-1)],
        ['two ranges', [...mapped(400_000, 10), { hostId: 0, containerId: 10, length: 1 }], mapped(400_000)],
      ] as const
    ).map(
      ([what, uids, gids]) =>
        [
          what,
          {
            namespaceOptions: {
              network: pod,
              pid: container,
              ipc: pod,
              usernsOptions: { mode: pod, uids: [...uids], gids: [...gids] },
            },
          },
        ] as const,
    ),
    podSecurity,
  ),
];

const profiles: readonly Variant[] = table(
  'profiles of the pod',
  [
    ['seccomp by a path', { seccomp: { profileType: 2, localhostRef: '../../etc/shadow' } }],
    ['seccomp by a deprecated path', { seccompProfilePath: 'localhost//etc/shadow' }],
    ['AppArmor of an unknown name', { apparmor: { profileType: 2, localhostRef: 'tenant-suite' } }],
    [
      'SELinux of the host',
      { selinuxOptions: { user: 'system_u', role: 'system_r', type: 'spc_t', level: 's0:c0.c1023' } },
    ],
    ['all groups', { supplementalGroups: [0, 6, 4_294_967_295] }],
    ['a user beyond the last', { runAsUser: { value: 4_294_967_296 } }],
  ],
  podSecurity,
);

const resources: readonly Variant[] = table(
  'resources of the pod',
  [
    [
      'giant',
      {
        resources: {
          memoryLimitInBytes: Number.MAX_SAFE_INTEGER,
          cpuQuota: Number.MAX_SAFE_INTEGER,
          cpuPeriod: 1_000_000,
          cpuShares: 262_144,
        },
      },
    ],
    ['negative', { resources: { memoryLimitInBytes: -1, cpuQuota: -1, cpuShares: -1 } }],
    ['by a climbing name', { resources: { unified: { '../../memory.max': '1', 'cgroup.procs': '1' } } }],
    ['overhead', { overhead: { memoryLimitInBytes: 1, cpuQuota: 1000 } }],
  ],
  podLinux,
);

const handlers: readonly Variant[] = [
  'runc',
  'crun',
  'kata',
  '',
  '../runc',
  '/bin/sh',
  'run\nc',
  '__proto__',
  'constructor',
  long(5000),
].map((handler, index) => ({
  group: 'runtime handlers',
  name: index < 9 ? JSON.stringify(handler) : 'of 5000 letters',
  handler,
}));

export const podFieldVariants: readonly Variant[] = [
  ...resolvers,
  ...hostPorts,
  ...sysctls,
  ...cgroupParents,
  ...logFolders,
  ...namespaces,
  ...profiles,
  ...resources,
  ...handlers,
];
