import { dnsmasqProgram } from '../../cni-plugins/plugin-engine/dhcp.fixture.ts';

/**
 * The stages of `npm run test:vm`, each in a separate machine. Commands run in the repository, inside the
 * guest.
 */
export interface Stage {
  readonly name: string;
  readonly what: string;
  readonly command: readonly string[];
  /** The mounted cgroup versions. Default: only version 2. */
  readonly cgroups?: 'v1' | 'hybrid' | 'v2';
  /** Additional kernel arguments. */
  readonly kernel?: string;
  /**
   * How often the command runs, each time after a boot of the machine (`VM_BOOT`), on one disk (/dev/vda) and
   * one $VM_OUT. Default: once, without a disk.
   */
  readonly boots?: number;
  /** A command that runs first, outside the machine. */
  readonly prepare?: readonly string[];
  readonly memoryMiB: number;
  readonly limitMinutes: number;
  /** Required programs of test/peers. */
  readonly peers: readonly string[];
  /** Required files of the host, in addition to those of `vm/run`. */
  readonly host: readonly string[];
  /** Matches the output line with the figures. */
  readonly figures: RegExp;
}

const systemd = ['/lib/systemd/systemd', '/usr/bin/systemd-run', '/usr/bin/dbus-daemon'];
const critest = ['critest', 'critimages'];

export const stages: readonly Stage[] = [
  {
    name: 'quickstart',
    what: 'the quickstart on cgroup version 2',
    command: ['env', 'TMPDIR=/dev/shm', 'sh', 'packaging/bin/portcullis', 'quickstart'],
    memoryMiB: 2048,
    limitMinutes: 15,
    peers: [],
    host: [],
    figures: /\S/,
  },
  {
    name: 'critest',
    what: 'all of critest on cgroup version 2, with the AppArmor specs',
    command: ['sh', 'test/vm/critest'],
    memoryMiB: 4096,
    limitMinutes: 90,
    peers: critest,
    host: [],
    figures: /^(critest\S*): \d+ passed/,
  },
  {
    name: 'stats',
    what: 'statistics of pods and containers, compared with their cgroups, on version 2',
    command: [
      'env',
      'TMPDIR=/dev/shm',
      'sh',
      'packaging/node',
      '--test',
      '--test-force-exit',
      '--test-reporter=tap',
      'test/e2e/stats.test.ts',
    ],
    memoryMiB: 3072,
    limitMinutes: 30,
    peers: [],
    host: [],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'cgroups',
    what: 'cgroups of pods and in containers, their resources and devices, on version 2 with nsdelegate',
    command: [
      ...['env', 'TMPDIR=/dev/shm', 'sh', 'packaging/node', '--test', '--test-concurrency=1'],
      ...['--test-force-exit', '--test-reporter=tap'],
      ...['writable-cgroups', 'cgroups', 'resources', 'devices'].map((name) => `test/e2e/${name}.test.ts`),
    ],
    memoryMiB: 3072,
    limitMinutes: 60,
    peers: [],
    host: [],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'links',
    what: 'the CNI plugins dummy, ipvlan, tap, vlan and vrf, VLANs of bridges, and leases with ipvlan, which many kernels lack',
    command: [
      ...['sh', '-c', 'modprobe -a 8021q ipvlan macvlan dummy tun vrf; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...['sh', 'packaging/node', '--test', '--test-concurrency=1', '--test-reporter=tap'],
      ...['bridge', 'dummy', 'ipvlan', 'tap', 'vlan', 'vrf'].map(
        (name) => `cni-plugins/plugins/${name}/${name}.test.ts`,
      ),
      'cni-plugins/plugin-engine/dhcp.test.ts',
      'cni-plugins/plugin-engine/ipvlan-modes.test.ts',
    ],
    memoryMiB: 2048,
    limitMinutes: 30,
    peers: [],
    host: ['/usr/lib/cni/vlan', dnsmasqProgram],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'classes',
    what: 'classes, rules of peers and host ports by packets, over IPv4 and IPv6',
    command: [
      ...['sh', '-c', 'modprobe -a br_netfilter macvlan; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...['sh', 'packaging/node', '--test', '--test-concurrency=1', '--test-reporter=tap'],
      ...[
        'first-packet',
        'first-packet-routed',
        'routed-links',
        'peers',
        'hidden-advertisements',
        'other-ports',
        'host-links',
      ].map((name) => `cni-plugins/policy/${name}.test.ts`),
      'cni-plugins/engine/plugin-traffic.test.ts',
    ],
    memoryMiB: 2048,
    limitMinutes: 60,
    peers: [],
    host: ['/usr/bin/python3'],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'services',
    what: 'the table of virtual servers with IPVS and with nf_tables, IPVS alone, and the switch between the two under load',
    command: ['sh', 'test/vm/services'],
    // Every change of nf_tables writes an audit record, which fills the console.
    kernel: 'audit=0',
    memoryMiB: 2048,
    limitMinutes: 240,
    peers: [],
    host: [],
    figures: /^((?:ipvs|nftables)(?=: \d+ of)|# (?:pass|fail|skipped)(?= \d))/,
  },
  {
    name: 'kube-proxy',
    what: 'random Services with IPVS, compared with a real kube-proxy',
    command: [
      ...['sh', '-c', 'modprobe -a ip_vs ip_vs_rr ip_vs_wrr dummy; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...['sh', 'packaging/node', 'test/kube-proxy/run.ts', '--balancer', 'ipvs'],
      ...['--seed', '1', '--seed', '2', '--steps', '5', '--services', '4'],
    ],
    kernel: 'audit=0',
    memoryMiB: 3072,
    limitMinutes: 240,
    peers: ['kube-proxy'],
    host: [],
    figures: /^(ipvs(?=: \d+ of))/,
  },
  {
    name: 'services-chaos',
    what: 'kills of the programs that change services and the balancer, with IPVS and with nf_tables',
    command: [
      ...['sh', '-c', 'modprobe -a ip_vs ip_vs_rr dummy; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...['env', 'PORTCULLIS_SERVICE_BALANCERS=nftables,ipvs'],
      `PORTCULLIS_SERVICE_KILLS=${process.env['PORTCULLIS_SERVICE_KILLS'] ?? '20'}`,
      `PORTCULLIS_SERVICE_SEED=${process.env['PORTCULLIS_SERVICE_SEED'] ?? '7'}`,
      ...[
        'sh',
        'packaging/node',
        '--test',
        '--test-timeout=14000000',
        '--test-reporter=tap',
        'cni-plugins/services/control/chaos.test.ts',
      ],
    ],
    kernel: 'audit=0',
    memoryMiB: 2048,
    limitMinutes: 240,
    peers: [],
    host: [],
    figures: /^# (\\# seed(?= \d)|pass|fail)/,
  },
  {
    name: 'encryption',
    what: 'networks that span hosts, with WireGuard: packets on the wire, excluded hosts, key changes, kills, hosts that leave',
    command: ['sh', 'test/vm/encryption'],
    kernel: 'audit=0',
    memoryMiB: 3072,
    limitMinutes: 150,
    peers: ['etcd'],
    host: [],
    figures: /^(encryption: |# (?:pass|fail|skipped) \d+)/,
  },
  {
    name: 'limits',
    what: 'resources on cgroup version 2, and writable layers limited by project quotas',
    command: [
      ...['sh', '-c', 'modprobe loop; modprobe quota_v2; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...[
        'sh',
        'packaging/node',
        '--test',
        '--test-force-exit',
        '--test-concurrency=1',
        '--test-reporter=tap',
      ],
      ...[
        'base/kernel/files/project-quota.test.ts',
        'test/e2e/writable-layer.test.ts',
        'test/e2e/resources.test.ts',
      ],
    ],
    memoryMiB: 4096,
    limitMinutes: 30,
    peers: [],
    host: ['/usr/sbin/mkfs.ext4'],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'verity',
    what: 'layer files that fs-verity protects: a flipped byte of the disk, replaced files, power cuts',
    command: [
      ...['sh', '-c', 'modprobe -a loop ext4; exec env TMPDIR=/dev/shm "$@"', 'sh'],
      ...['sh', 'packaging/node', '--test', '--test-reporter=tap', 'runtime/images/erofs/verity.test.ts'],
    ],
    memoryMiB: 2048,
    limitMinutes: 15,
    peers: [],
    host: ['/usr/sbin/mkfs.ext4'],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  ...(['v2', 'hybrid', 'v1'] as const).map((cgroups): Stage => ({
    name: cgroups === 'v2' ? 'systemd' : `systemd-${cgroups}`,
    what: `the cgroup driver systemd on cgroups ${cgroups}, by crun and runc`,
    cgroups,
    command: [
      ...['env', 'TMPDIR=/dev/shm', 'bash', 'test/vm/under-systemd'],
      ...['sh', 'packaging/node', '--test', '--test-force-exit', '--test-reporter=tap', 'test/vm/systemd.ts'],
    ],
    memoryMiB: 3072,
    limitMinutes: 60,
    peers: [],
    host: systemd,
    figures: /^# (pass|fail|skipped) \d+/,
  })),
  {
    name: 'critest-systemd',
    what: 'all of critest with the cgroup driver systemd',
    command: ['bash', 'test/vm/under-systemd', 'sh', 'test/vm/critest'],
    memoryMiB: 4096,
    limitMinutes: 90,
    peers: critest,
    host: systemd,
    figures: /^(critest\S*): \d+ passed/,
  },
  {
    name: 'apparmor',
    what: 'profiles of AppArmor: critest’s group and our own tests',
    command: ['bash', 'test/vm/apparmor'],
    memoryMiB: 4096,
    limitMinutes: 60,
    peers: critest,
    host: [],
    figures: /^(critest\S*(?=: \d+ passed)|# (?:pass|fail)(?= \d))/,
  },
  {
    name: 'selinux',
    what: 'labels of SELinux, enforcing, under a small policy of our own',
    command: ['bash', 'test/vm/selinux'],
    kernel: 'security=selinux selinux=1 enforcing=0',
    prepare: ['bash', 'test/vm/selinux', 'policy'],
    memoryMiB: 4096,
    limitMinutes: 30,
    peers: [],
    host: [],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'service',
    what: 'the shipped systemd unit: readiness, reload, watchdog',
    command: [
      ...['env', 'TMPDIR=/dev/shm', 'bash', 'test/vm/under-systemd'],
      ...[
        'sh',
        'packaging/node',
        '--test',
        '--test-force-exit',
        '--test-reporter=tap',
        'test/vm/systemd-service.ts',
      ],
    ],
    memoryMiB: 2048,
    limitMinutes: 30,
    peers: [],
    host: systemd,
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'reboot',
    what: 'a reset while pods run and an image is pulled, an orderly reboot, and the state that the next start finds',
    command: ['bash', 'test/vm/reboot'],
    boots: 3,
    memoryMiB: 3072,
    limitMinutes: 20,
    peers: [],
    host: ['/usr/sbin/mkfs.ext4'],
    figures: /^reboot: (boot \d)/,
  },
  {
    name: 'clock',
    what: 'the clock jumps by hours, forward and back, while pods run',
    command: [
      ...[
        'env',
        'TMPDIR=/dev/shm',
        'sh',
        'packaging/node',
        '--test',
        '--test-force-exit',
        '--test-reporter=tap',
        'test/vm/clock.ts',
      ],
    ],
    memoryMiB: 3072,
    limitMinutes: 30,
    peers: [],
    host: [],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  {
    name: 'checkpoint',
    what: 'checkpoints of containers by criu and runc, and their restore',
    command: [
      ...['env', 'TMPDIR=/dev/shm', 'sh', 'packaging/node', '--test', '--test-force-exit'],
      ...['--test-timeout=1700000', '--test-reporter=tap', '--test-concurrency=1'],
      ...['test/checkpoint/suite.ts', 'test/checkpoint/restore.ts'],
    ],
    // The kernel writes audit records of every filter, which fill the console.
    kernel: 'audit=0',
    memoryMiB: 3072,
    limitMinutes: 60,
    peers: [],
    host: ['/usr/sbin/criu', '/usr/sbin/runc'],
    figures: /^# (pass|fail|skipped) \d+/,
  },
  ...(['cgroupfs', 'systemd'] as const).map((driver): Stage => ({
    name: driver === 'systemd' ? 'kubelet-systemd' : 'kubelet',
    what: `a real kubelet on cgroup version 2 with the cgroup driver ${driver}`,
    command: [
      ...['env', 'TMPDIR=/dev/shm', ...(driver === 'systemd' ? ['bash', 'test/vm/under-systemd'] : [])],
      ...['sh', 'packaging/node', 'test/kubelet/run.ts', '--driver', driver],
    ],
    memoryMiB: 4096,
    limitMinutes: 60,
    peers: ['kubelet'],
    host: driver === 'systemd' ? systemd : [],
    figures: /^kubelet Kubernetes .* passed, /,
  })),
];
