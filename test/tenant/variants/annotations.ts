import { clusterAddress, gateway, hostAddress, ports } from '../scene/scene.ts';
import type { Scene } from '../scene/scene.ts';
import { annotations, long, never, table } from './variant.ts';
import type { Variant } from './variant.ts';

const services = (value: unknown): Record<string, string> => ({
  'portcullis.dev/services': typeof value === 'string' ? value : JSON.stringify(value),
});
const one = (more: object, name = 'mine') => services([{ name, ports: ['80:8080'], ...more }]);

/** Variants that may run name the services that they own; a refused one owns nothing. */
const owned = (rows: readonly Variant[], ...names: string[]): Variant[] =>
  rows.map((row) => ({ ...row, services: names }));

const memberships: readonly Variant[] = [
  ...owned(
    table(
      'services',
      [
        ['of its own', one({})],
        ['of its own, without a virtual address', one({ mode: 'dnsrr', ports: [] })],
        ['of its own, of one network', one({ network: 'pods' })],
        ['of another network', one({ network: 'shared' })],
        [
          'all ports that it may name',
          one({ ports: Array.from({ length: 64 }, (_, index) => `${index + 1}:8080`) }),
        ],
        ['udp 53', one({ ports: ['53:5353/udp'] })],
        ['alias of the victim’s pod', one({ aliases: ['web', 'vault', 'client'] })],
        ['alias of the victim’s service', one({ aliases: ['shop', 'store'] })],
        ['alias in capitals', one({ aliases: ['WEB', 'Shop'] })],
        [
          'alias of the victim’s short id',
          (scene: Scene) => one({ aliases: [scene.victim.web.id.slice(0, 12)] }),
        ],
      ],
      annotations,
    ),
    'mine',
  ),
  ...(
    [
      'web',
      'vault',
      'client',
      'store',
      'kubernetes',
      'localhost',
      'node1',
      'com',
      'wpad',
      'pods',
      'shared',
      'victim',
      'portcullis',
      'tasks',
    ] as const
  ).flatMap((name) => owned(table('services', [[`called ${name}`, one({}, name)]], annotations), name)),
  ...table(
    'services',
    [['called as the victim’s short id', (scene: Scene) => one({}, scene.victim.web.id.slice(0, 12))]],
    annotations,
  ).map((row): Variant => ({ ...row, services: (scene) => [scene.victim.web.id.slice(0, 12)] })),
  ...table(
    'services',
    [
      ['of the victim', services([{ name: 'shop', ports: ['80:8080'] }])],
      ['of the victim, in capitals', services([{ name: 'SHOP', ports: ['80:8080'] }])],
      ['of the victim, another port', services([{ name: 'shop', ports: ['81:8080'] }])],
      ['of the victim, other mode', services([{ name: 'shop', mode: 'dnsrr' }])],
      [
        'of the victim, of its private network',
        services([{ name: 'shop', network: 'private', ports: ['80:8080'] }]),
      ],
      ['called with dots', one({}, 'kubernetes.default')],
      ['alias with dots', one({ aliases: ['kubernetes.default.svc.cluster.local'] })],
      ['alias example.com', one({ aliases: ['example.com'] })],
      ['alias with a wildcard', one({ aliases: ['*'] })],
      ['alias that is empty', one({ aliases: [''] })],
      ['called with a line feed', one({}, 'a\nb')],
      ['called with an underscore', one({}, '_tcp')],
      ['called with 64 letters', one({}, long(64))],
      ['called by a look-alike', one({}, 'ѕhop')],
      ['called __proto__', one({}, '__proto__')],
      ['aliases beyond the bound', one({ aliases: Array.from({ length: 17 }, (_, index) => `a${index}`) })],
      [
        'seventeen of them',
        services(Array.from({ length: 17 }, (_, index) => ({ name: `s${index}`, ports: ['80'] }))),
      ],
      [
        'one twice',
        services([
          { name: 'a', ports: ['80'] },
          { name: 'a', ports: ['81'] },
        ]),
      ],
      ['ports beyond the bound', one({ ports: Array.from({ length: 65 }, (_, index) => `${index + 1}`) })],
      ['port 0', one({ ports: ['0'] })],
      ['port 65536', one({ ports: ['65536'] })],
      ['port -1', one({ ports: ['-1'] })],
      ['port 1e3', one({ ports: [1e300] })],
      ['no list', services({ name: 'shop' })],
      ['no JSON', services('shop')],
      ['empty', services('')],
      ['null', services('null')],
      ['an unknown field', one({ backends: [hostAddress] })],
      ['a megabyte', services([{ name: long(1_000_000), ports: ['80'] }])],
      ['deeply nested', services(`${long(50_000, '[')}${long(50_000, ']')}`)],
    ],
    annotations,
  ),
  ...never(
    table(
      'ingress ports',
      [
        [
          'ssh, kubelet, DNS',
          services([{ name: 'x', ingressPorts: ['22:2222', '10250:8443', '53:5353/udp'] }]),
        ],
        ['one that is free', one({ ingressPorts: ['30081:8080'] })],
        ['the victim’s', one({ ingressPorts: [`${ports.ingress}:8080`] })],
        ['the victim’s host port', one({ ingressPorts: [`${ports.hostPort}:8080`] })],
        ['the highest', one({ ingressPorts: ['65535:8080'] })],
        ['sctp', one({ ingressPorts: ['30082:8080/sctp'] })],
        [
          'of the victim’s service',
          services([{ name: 'shop', ports: ['80:8080'], ingressPorts: [`${ports.ingress}:8080`] }]),
        ],
        ['of the other network', one({ network: 'shared', ingressPorts: ['30083:8080'] })],
      ],
      annotations,
    ),
  ),
  ...(
    [
      ['of the victim’s pod', (scene: Scene) => scene.victim.web.address],
      ['of the gateway', gateway.four],
      ['of the gateway, IPv6', gateway.six],
      ['of the host', hostAddress],
      ['of a service of the host', clusterAddress],
      ['of loopback', '127.0.0.1'],
      ['of the cluster’s DNS', '10.96.0.53'],
      ['of a metadata service', '169.254.169.254'],
      ['of all', '0.0.0.0'],
      ['of multicast', '224.0.0.1'],
      ['of the network itself', '10.231.0.0'],
      ['of its broadcast', '10.231.0.255'],
      ['mapped', '::ffff:10.231.0.2'],
      ['far away', '8.8.8.8'],
    ] as const
  ).flatMap(([name, address]) =>
    owned(
      table(
        'virtual addresses',
        [
          [
            name,
            (scene: Scene) => one({ virtualIPs: [typeof address === 'string' ? address : address(scene)] }),
          ],
        ],
        annotations,
      ),
      'mine',
    ),
  ),
];

const networks = (value: unknown): Record<string, string> => ({
  'k8s.v1.cni.cncf.io/networks': typeof value === 'string' ? value : JSON.stringify(value),
});
const shared = (more: object) => networks([{ name: 'shared', ...more }]);
const macOf = (address: string): string =>
  `0a:58:${address
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join(':')}`;

const furtherNetworks: readonly Variant[] = table(
  'networks',
  [
    ['one that is open', networks('shared')],
    ['by an interface', networks('shared@net7')],
    ['one that is closed', networks('private')],
    ['twice', networks('shared,shared')],
    ['the pods’ own', networks('pods')],
    ['unknown', networks('nowhere')],
    ['of the victim’s namespace', networks('victim/shared')],
    ['a path', networks('../cni/51-private')],
    ['an interface lo', shared({ interface: 'lo' })],
    ['an interface eth0', shared({ interface: 'eth0' })],
    ['an interface of the host', shared({ interface: 'uplink0' })],
    ['an interface by a path', shared({ interface: '../../x' })],
    ['an interface of 16 letters', shared({ interface: long(16) })],
    ['an interface with a line feed', shared({ interface: 'a\nb' })],
    ['an interface all', shared({ interface: 'all' })],
    ['the victim’s address', shared({ ips: ['10.232.0.2'] })],
    ['the gateway’s address', shared({ ips: ['10.232.0.1'] })],
    ['the host’s address', shared({ ips: [hostAddress] })],
    ['an address of the pods’ network', shared({ ips: ['10.231.0.99'] })],
    ['an address that is free', shared({ ips: ['10.232.0.99'] })],
    ['an address that is none', shared({ ips: ['10.232.0.999'] })],
    ['the broadcast address', shared({ ips: ['10.232.0.255'] })],
    ['the victim’s MAC', shared({ mac: macOf('10.232.0.2') })],
    ['the victim’s MAC of the pods’ network', shared({ mac: macOf('10.231.0.2') })],
    ['the gateway’s MAC', shared({ mac: macOf('10.232.0.1') })],
    ['a MAC that is free', shared({ mac: '02:00:00:00:00:77' })],
    ['a MAC of a group', shared({ mac: '01:00:5e:00:00:01' })],
    ['the MAC 00:00:00:00:00:00', shared({ mac: '00:00:00:00:00:00' })],
    ['the MAC of all', shared({ mac: 'ff:ff:ff:ff:ff:ff' })],
    ['an unknown field', shared({ 'cni-args': { routes: ['0.0.0.0/0'] } })],
    ['33 of them', networks(Array.from({ length: 33 }, () => ({ name: 'shared' })))],
    ['no JSON', networks('[{')],
    ['a name of 10,000 letters', networks(long(10_000))],
    ['as its default network', { 'v1.multus-cni.io/default-network': 'private' }],
    [
      'by cni.projectcalico.org',
      {
        'cni.projectcalico.org/ipAddrs': '["10.231.0.2"]',
        'cni.projectcalico.org/hwAddr': macOf('10.231.0.2'),
      },
    ],
  ],
  annotations,
);

const bandwidth: readonly Variant[] = table(
  'bandwidth',
  (
    [
      ['both', '10M', '10M'],
      ['one way', '1k', undefined],
      ['the most', '1P', '1P'],
      ['none', '0', '0'],
      ['negative', '-1M', undefined],
      ['too much', '2P', undefined],
      ['no number', 'lots', undefined],
      ['an exponent', '1e15', '1E3'],
      ['by commands', '1M; tc qdisc del dev uplink0 root', undefined],
    ] as const
  ).map(([name, ingress, egress]) => [
    name,
    {
      'kubernetes.io/ingress-bandwidth': ingress,
      ...(egress !== undefined && { 'kubernetes.io/egress-bandwidth': egress }),
    },
  ]),
  annotations,
);

const askedNames: readonly Variant[] = table(
  'names to ask',
  (
    ['pods', 'shared', 'private', 'nowhere', '..', 'pods\nnameserver 6.6.6.6', 'PODS', long(5000)] as const
  ).map((network, index) => [
    index < 6 ? network.replace('\n', '+') : `form ${index}`,
    { 'portcullis.dev/dns': network },
  ]),
  annotations,
);

const profiles: readonly Variant[] = table(
  'profiles',
  [
    ...[
      'wide',
      'hostly',
      'privileged',
      'baseline',
      'restricted',
      'default',
      'none',
      '../policy',
      '/etc/shadow',
      'wide\n',
    ].map((name) => [name.replace('\n', '+'), { 'portcullis.dev/profile': name }] as const),
    ['of one container', { 'portcullis.dev/profile.main': 'wide' }],
    ['of __proto__', { 'portcullis.dev/profile.__proto__': 'wide', __proto__: 'x' }],
  ],
  annotations,
);

const sizes: readonly Variant[] = table(
  'sizes',
  [
    ...['1Gi', '100Ti', '0', '-1', '1Mi,mode=777', 'nan'].map(
      (size) => [`shm ${size}`, { 'portcullis.dev/shm-size': size }] as const,
    ),
    ...['1Gi', '100Pi', '0', 'x'].map(
      (size) => [`root ${size}`, { 'portcullis.dev/rootfs-size': size }] as const,
    ),
  ],
  annotations,
);

/** Annotations of other runtimes, of OCI runtimes, and of no runtime. */
const ofOthers: readonly Variant[] = table(
  'annotations of others',
  [
    ['AppArmor unconfined', { 'container.apparmor.security.beta.kubernetes.io/main': 'unconfined' }],
    [
      'AppArmor by path',
      { 'container.apparmor.security.beta.kubernetes.io/main': 'localhost/../../etc/shadow' },
    ],
    ['seccomp unconfined', { 'seccomp.security.alpha.kubernetes.io/pod': 'unconfined' }],
    ['seccomp by path', { 'container.seccomp.security.alpha.kubernetes.io/main': 'localhost//etc/shadow' }],
    ['CDI', { 'cdi.k8s.io/disk': 'vendor.example/disk=whole' }],
    [
      'hooks of crun',
      { 'run.oci.hooks.stdout': '/etc/x', 'run.oci.hooks.stderr': '/etc/y', 'run.oci.handler': 'krun' },
    ],
    ['groups of crun', { 'run.oci.keep_original_groups': '1', 'run.oci.delegate-cgroup': '../x' }],
    ['mounts of crun', { 'run.oci.mount_context_type': 'rootcontext', 'run.oci.timens_offset': '1000000' }],
    ['systemd’s properties', { 'org.systemd.property.ExecStartPre': '/bin/touch /etc/x' }],
    [
      'devices of CRI-O',
      { 'io.kubernetes.cri-o.Devices': '/dev/kmsg:/dev/kmsg:rw', 'io.kubernetes.cri-o.ShmSize': '1Gi' },
    ],
    ['user namespace of CRI-O', { 'io.kubernetes.cri-o.userns-mode': 'auto:size=65536' }],
    [
      'cgroup of CRI-O',
      {
        'io.kubernetes.cri-o.UnifiedCgroup': 'memory.max=1',
        'io.kubernetes.cri-o.cgroup2-mount-hierarchy-rw': 'true',
      },
    ],
    [
      'base runtime of containerd',
      { 'io.containerd.cri.runtime-handler': 'runc', 'io.kubernetes.cri.untrusted-workload': 'true' },
    ],
    [
      'logs of kubelet',
      { 'io.kubernetes.container.logpath': '/etc/x', 'io.kubernetes.sandbox.id': long(64, '0') },
    ],
    ['mirror of a static pod', { 'kubernetes.io/config.mirror': 'x', 'kubernetes.io/config.source': 'file' }],
    [
      'ten thousand',
      Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`example.com/a${index}`, 'x'])),
    ],
    ['a key with a line feed', { 'a\nb': 'c\nd' }],
    ['a value of 256 KiB', { 'example.com/a': long(262_144) }],
  ],
  annotations,
);

export const annotationVariants: readonly Variant[] = [
  ...memberships,
  ...furtherNetworks,
  ...bandwidth,
  ...askedNames,
  ...profiles,
  ...sizes,
  ...ofOthers,
];
