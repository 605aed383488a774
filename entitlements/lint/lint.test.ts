import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkProfiles } from '../document/check.ts';
import { LINT_CODES } from './finding.ts';
import { lintProfiles } from './lint.ts';

const HEAD = 'apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: p }\n';

/** Returns the findings as `line:column code message`. The document has no problems. */
function findings(lines: string): string[] {
  const files = [{ file: 'p.yaml', text: `${HEAD}${lines}` }];
  assert.deepEqual(checkProfiles(files).problems, []);
  return lintProfiles(files).map(({ position, code, message, path, fix }) => {
    assert.ok(path !== '' && fix !== '' && message !== '');
    return `${position.line}:${position.column} ${code} ${message}`;
  });
}

/** For each rule, a profile in which it finds something, and a similar profile in which it does not. */
const table: readonly (readonly [name: string, fires: string, finding: RegExp, silent: string])[] = [
  [
    'an entitlement twice',
    'entitlements: [debug, debug]',
    /^4:23 shadowed-rule the other entitlements already cover debug/,
    'entitlements: [debug]',
  ],
  [
    'an entitlement within another',
    'entitlements: [kernel.bpf, kernel.perf]',
    /^4:28 shadowed-rule .*kernel\.perf/,
    'entitlements: [kernel.clocks, kernel.perf]',
  ],
  [
    'a capability of the default',
    'capabilities: { add: [KILL] }',
    /^4:23 shadowed-rule KILL is granted/,
    'capabilities: { add: [SYS_NICE] }',
  ],
  [
    'a capability that nobody grants',
    'capabilities: { drop: [SYS_NICE] }',
    /^4:24 shadowed-rule/,
    'capabilities: { drop: [KILL] }',
  ],
  [
    'KILL beside ALL',
    'capabilities: { drop: [ALL, SYS_NICE] }',
    /^4:29 shadowed-rule/,
    'capabilities: { drop: [ALL], add: [KILL] }',
  ],
  [
    'a call that is allowed',
    'syscalls: { add: [read] }',
    /^4:19 shadowed-rule read is allowed without it/,
    'syscalls: { add: [swapon] }',
  ],
  [
    'a call of a capability that remains',
    'capabilities: { drop: [KILL] }\nsyscalls: { add: [chroot] }',
    /^5:19 shadowed-rule chroot is allowed without it/,
    'capabilities: { drop: [SYS_CHROOT] }\nentitlements: [kernel.user-namespaces]\nsyscalls: { add: [chroot] }',
  ],
  [
    'a denied call of a capability that it does not add',
    'capabilities: { add: [SYS_NICE] }\nsyscalls: { drop: [vhangup] }',
    /^5:20 shadowed-rule vhangup is denied without it/,
    'capabilities: { add: [SYS_TTY_CONFIG] }\nsyscalls: { drop: [vhangup] }',
  ],
  [
    'a call that is allowed with these arguments',
    'syscalls: { add: [socket: { arg0: AF_INET }] }',
    /^4:19 shadowed-rule socket with these arguments is allowed/,
    'syscalls: { add: [socket: { arg0: AF_VSOCK }] }',
  ],
  [
    'a call that is denied',
    'syscalls: { drop: [bpf] }',
    /^4:20 shadowed-rule bpf is denied without it/,
    'syscalls: { drop: [chmod] }',
  ],
  [
    'a call under a wider item',
    'syscalls: { drop: [{ ioctl: { arg1: TIOCSTI } }, ioctl] }',
    /^4:20 shadowed-rule other items of the list cover ioctl/,
    'syscalls: { drop: [{ ioctl: { arg1: TIOCSTI } }, chmod] }',
  ],
  [
    'a pattern under a wider one',
    'files: { read: [/app/x/*, /app/**] }',
    /^4:17 shadowed-rule \/app\/\*\* covers it/,
    'files: { read: [/app/x/*, /app/*] }',
  ],
  [
    'a rule of peers under a wider one',
    'network: { egress: [{ to: 10.1.0.0/16, ports: [80/tcp] }, { to: 10.0.0.0/8, ports: [1-100/tcp] }] }',
    /^4:21 shadowed-rule other rules/,
    'network: { egress: [{ to: 10.1.0.0/16, ports: [80/tcp] }, { to: 10.0.0.0/8, ports: [1-79/tcp] }] }',
  ],
  [
    'a device of the default',
    'devices: { add: [c 1:3 r] }',
    /^4:18 shadowed-rule c 1:3 r is granted/,
    'devices: { add: [c 10:232 rw] }',
  ],
  [
    'a capability without its calls',
    'capabilities: { add: [PERFMON] }\nsyscalls: { drop: [perf_event_open] }',
    /^4:23 dead-grant PERFMON serves only perf_event_open/,
    'capabilities: { add: [PERFMON] }',
  ],
  [
    'a call without its capability',
    'syscalls: { add: [swapon] }',
    /^4:19 dead-grant swapon fails without CAP_SYS_ADMIN/,
    'syscalls: { add: [swapon] }\ncapabilities: { add: [SYS_ADMIN] }',
  ],
  [
    'a call that fails for all arguments without a capability',
    'syscalls: { add: [mount] }',
    /^4:19 dead-grant mount fails without CAP_SYS_ADMIN/,
    'syscalls: { add: [bpf, clock_settime, ioperm, setns] }',
  ],
  [
    'a network capability without a network',
    'entitlements: [network.none]\ncapabilities: { add: [NET_RAW] }',
    /^5:23 dead-grant NET_RAW serves the network/,
    'entitlements: [network.user]\ncapabilities: { add: [NET_RAW] }',
  ],
  [
    'peers without a network',
    'entitlements: [network.none]\nnetwork: { egress: [{ to: 10.0.0.0/8 }] }',
    /^5:12 dead-grant the class network\.none has no peers/,
    'network: { egress: [{ to: 10.0.0.0/8 }] }',
  ],
  [
    'files that are denied',
    'files: { read: [/app/secret/**], deny: { read: [/app/**] } }',
    /^4:17 dead-grant files\.deny\.read denies all of it/,
    'files: { read: [/app/**], deny: { read: [/app/secret/**] } }',
  ],
  [
    'mounts without the capability',
    'mounts: [{ target: /mnt/** }]',
    /^4:1 dead-grant mounting needs/,
    'mounts: [{ target: /mnt/** }]\nentitlements: [kernel.mounts]',
  ],
  [
    'a capability that nobody can hold',
    'entitlements: [security.non-root, security.no-new-privileges]\ncapabilities: { add: [SYS_NICE] }',
    /^5:23 dead-grant no process can hold SYS_NICE/,
    'entitlements: [security.non-root, security.no-new-privileges]\ncapabilities: { add: [SYS_NICE], ambient: [SYS_NICE] }',
  ],
  [
    'a bound that is raised',
    'resources: { memlock: 1Mi }\nentitlements: [security.memory-lock]',
    /^4:14 void-bound/,
    'resources: { memlock: 1Mi }',
  ],
  [
    'a limit of processor time that is raised',
    'resources: { cpu: 0.5, cputime: 10 }\ncapabilities: { add: [SYS_RESOURCE] }',
    /^4:24 void-bound CAP_SYS_RESOURCE raises it/,
    'resources: { cpu: 0.5 }\ncapabilities: { add: [SYS_RESOURCE] }',
  ],
  [
    'CAP_SYS_ADMIN',
    'capabilities: { add: [CAP_SYS_ADMIN] }',
    /^4:23 broad-grant CAP_SYS_ADMIN is equivalent to root/,
    'capabilities: { add: [SYS_PACCT] }',
  ],
  [
    'a critical entitlement',
    'entitlements: [security.admin]',
    /^4:16 broad-grant security\.admin is critical/,
    'entitlements: [kernel.clocks]',
  ],
  [
    'every file',
    'files: { write: [/**] }',
    /^4:18 broad-grant \/\*\* matches every file/,
    'files: { write: [/var/**] }',
  ],
  [
    'every peer',
    'network: { egress: [{ to: 0.0.0.0/0 }] }',
    /^4:21 broad-grant it allows every port/,
    'network: { egress: [{ to: 0.0.0.0/0, ports: [443/tcp] }] }',
  ],
  [
    'every device',
    'devices: { add: ["b *:* r"] }',
    /^4:18 broad-grant b \*:\* r is every device/,
    'devices: { add: [c 10:229 rw] }',
  ],
  [
    'a disk',
    'devices: { add: [b 8:0 r] }',
    /^4:18 broad-grant b 8:0 r is a disk/,
    'devices: { add: [c 10:229 rw] }',
  ],
  [
    'a call with any arguments',
    'syscalls: { add: [io_uring_setup] }',
    /^4:19 broad-grant io_uring_setup: requests/,
    'syscalls: { add: [migrate_pages] }',
  ],
  [
    'files that are written and run',
    'files: { write: [/srv/**], execute: [/srv/bin/*, /bin/**] }',
    /^4:18 write-execute \/srv\/bin\/ may be written/,
    'files: { write: [/srv/data/**], execute: [/srv/bin/*] }',
  ],
  [
    'an unused parameter',
    'parameters: { port: { type: port, default: 80 } }',
    /^4:15 unused-parameter nothing refers to \$\{port\}/,
    'parameters: { port: { type: port, default: 80 } }\nnetwork: { ingress: [{ ports: ["${port}/tcp"] }] }',
  ],
];

describe('the lint rules', () => {
  for (const [name, fires, finding, silent] of table) {
    it(`find ${name}, and nothing in a similar profile`, () => {
      const code = finding.source.split(' ')[1] ?? '';
      const found = findings(`${fires}\n`);
      assert.ok(
        found.some((text) => finding.test(text)),
        found.join('\n'),
      );
      const quiet = findings(`${silent}\n`).filter((text) => text.includes(` ${code} `));
      assert.deepEqual(quiet, []);
    });
  }

  it('find nothing in a profile that grants what is needed', () => {
    const lines = `entitlements: [network.user, host.devices.none, security.confined]
files: { read: [/app/**, /etc/ssl/**], write: [/var/cache/app/**] }
network: { egress: [{ to: 10.0.0.0/8, ports: [5432/tcp] }] }
syscalls: { drop: [{ ioctl: { arg1: [TIOCSTI, TIOCLINUX] } }] }
resources: { memlock: 64Mi }
`;
    assert.deepEqual(findings(lines), []);
  });

  it('find nothing in a profile with problems', () => {
    assert.deepEqual(
      lintProfiles([{ file: 'p', text: `${HEAD}capabilities: { add: [SYS_ADMIN, BOGUS] }\n` }]),
      [],
    );
  });

  it('have codes that are all reported', () => {
    const fired = new Set(table.map(([, , finding]) => finding.source.split(' ')[1]));
    assert.deepEqual([...fired, 'int-arg-high-bits'].sort(), Object.keys(LINT_CODES).sort());
  });
});

it('takes a bounded time for long lists of patterns', () => {
  const list = (begin: string): string =>
    Array.from({ length: 199 }, (_, at) => `    - '${begin}${at}/**/b*c${at}'\n`).join('');
  const of = (begin: string, other = begin): string =>
    [
      `files:\n  read:\n${list(begin)}  write:\n${list(begin)}`,
      `  execute:\n${list(other)}  deny:\n   read:\n${list(other)}`,
    ].join('');
  const before = process.cpuUsage();
  assert.deepEqual(findings(of('/a', '/z')), []);
  // These begin with the same characters, and are compared until the budget is spent.
  findings(of('/{a,b}x', '/{a,c}x'));
  const { user } = process.cpuUsage(before);
  assert.ok(user < 15_000_000, `${user / 1e6} s`);
});
