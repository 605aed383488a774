import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseMountinfo } from '../../container-mounts/mountinfo.ts';
import { counterSpec } from '../images/counter.fixture.ts';
import type { RestoreSpec } from '../images/restorable.ts';
import { namespaceKinds } from '../images/rights.ts';
import { beyondSpec } from './compare-kernel.ts';
import type { Seen } from './compare-kernel.ts';
import { isInNodeSession, limitsOf, statusRights } from './kernel-rights.ts';
import type { SeenProcess, SeenThread } from './kernel-rights.ts';

const filter = new Uint8Array(8);
const spec: RestoreSpec = {
  ...counterSpec,
  root: { path: '/r', readonly: false },
  process: { ...counterSpec.process, noNewPrivileges: true, apparmorProfile: 'portcullis-default' },
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid'] },
    { destination: '/data', type: 'bind', source: '/d', options: ['rbind', 'ro'] },
  ],
  linux: {
    ...counterSpec.linux,
    namespaces: [
      ...['pid', 'mount', 'cgroup'].map((type) => ({ type })),
      ...['network', 'ipc', 'uts'].map((type) => ({ type, path: `/pins/${type}` })),
    ],
    maskedPaths: ['/proc/keys'],
    readonlyPaths: ['/proc/sys'],
  },
};
const mountinfo = `110 79 0:40 / / rw,relatime - overlay overlay rw
111 110 0:43 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
112 110 0:44 / /dev rw,nosuid - tmpfs tmpfs rw
113 110 8:1 /d /data ro,relatime - ext4 /dev/sda1 rw
85 111 0:43 /sys /proc/sys ro,relatime - proc proc rw
90 111 0:44 /null /proc/keys rw,nosuid - tmpfs tmpfs rw
`;
const status = `Name:\tsh
State:\tT (stopped)
Uid:\t0\t0\t0\t0
Gid:\t0\t0\t0\t0
Groups:\t
CapInh:\t0000000000000000
CapPrm:\t0000000020000420
CapEff:\t0000000020000420
CapBnd:\t0000000020000420
CapAmb:\t0000000000000000
NoNewPrivs:\t1
Seccomp:\t2
`;
const ofNode = Object.fromEntries(namespaceKinds.map((kind) => [kind, 1])) as Seen['ofNode'];
const namespaces = { pid: 9, mnt: 9, cgroup: 9, net: 5, ipc: 6, uts: 7, user: 1, time: 9 };
const thread: SeenThread = {
  ...{ pid: 40, tid: undefined, comm: 'sh', ...statusRights(status), secureBits: 0 },
  ...{ label: 'portcullis-default', filters: [filter], strictCalls: false, nice: 0, policy: 0 },
  ...{ state: 'T', seccomp: 2 },
};
const shell: SeenProcess = {
  ...{ pid: 40, comm: 'sh', limits: Array.from({ length: 16 }, () => 1_024n), oomScoreAdj: 0 },
  ...{ namespaces, files: [], threads: [thread], root: '/', inNodeSession: false },
  descriptors: [
    { target: '/dev/null', mount: '112' },
    { target: 'pipe:[7]', mount: '15' },
    { target: '/tmp/kept', mount: '110' },
  ],
  mapped: ['/bin/busybox'],
};
const seen: Seen = {
  ...{ processes: [shell], init: 40, mounts: parseMountinfo(mountinfo), ofNode },
  inherited: { limits: shell.limits, oomScoreAdj: 0 },
  ...{ joined: { net: 5, ipc: 6, uts: 7 }, present: new Set(['/proc/keys', '/proc/sys']), filters: [filter] },
};
const second = (change: Partial<SeenProcess>): Seen => ({
  ...seen,
  processes: [shell, { ...shell, pid: 41, ...change }],
});
const withThread = (change: Partial<SeenThread>): Seen =>
  second({ threads: [{ ...thread, pid: 41, ...change }] });
const withMounts = (change: (text: string) => string): Seen => ({
  ...seen,
  mounts: parseMountinfo(change(mountinfo)),
});
const shown = (other: Seen, by = spec): string => beyondSpec(other, by).join(', ');

describe('restored processes, as the kernel shows them', () => {
  it('have nothing beyond their specification', () => {
    assert.equal(shown(seen), '');
  });

  const cases: Readonly<Record<string, readonly [Seen, RegExp]>> = {
    'a capability': [
      withThread({ capabilities: { ...thread.capabilities, permitted: 1n << 21n } }),
      /SYS_ADMIN/,
    ],
    'another user': [withThread({ uids: [0, 0, 5, 0] }), /the user 5/],
    'no bit no_new_privs': [withThread({ noNewPrivileges: false }), /no bit no_new_privs/],
    'no filter': [withThread({ filters: undefined, seccomp: 0 }), /other seccomp filters/],
    'another label': [withThread({ label: 'unconfined' }), /the label unconfined/],
    'a second thread with another label': [
      second({ threads: [thread, { ...thread, tid: 42, label: undefined }] }),
      /thread 42 .* the label \(none\)/,
    ],
    'a process that runs already': [withThread({ state: 'S' }), /in the state S instead of T/],
    'the network of the node': [second({ namespaces: { ...namespaces, net: 1 } }), /another net namespace/],
    'a mount namespace of its own': [
      second({ namespaces: { ...namespaces, mnt: 10 } }),
      /another mnt namespace/,
    ],
    'a user namespace': [second({ namespaces: { ...namespaces, user: 3 } }), /user namespace/],
    'a volume that is open': [
      second({ descriptors: [{ target: '/data/secret', mount: '113' }] }),
      /has "\/data\/secret" open/,
    ],
    'a socket': [second({ descriptors: [{ target: 'socket:[9]', mount: '9' }] }), /has "socket:\[9\]" open/],
    'a device of another mount': [
      second({ descriptors: [{ target: '/dev/null', mount: '110' }] }),
      /has "\/dev\/null" open/,
    ],
    'a mapped volume': [second({ mapped: ['/data/library'] }), /has mapped "\/data\/library"/],
    'another root folder': [second({ root: '/tmp' }), /the root folder \/tmp/],
    'a higher limit': [second({ limits: [...shell.limits].fill(9_999n, 7, 8) }), /RLIMIT_NOFILE 9999/],
    'a higher limit than the daemon has': [
      second({ limits: [...shell.limits].fill(9_999n, 6, 7) }),
      /a higher RLIMIT_NPROC than the daemon/,
    ],
    'a first process that is elsewhere': [{ ...seen, init: 7 }, /not in the cgroup/],
    'a writable volume': [
      withMounts((text) => text.replace('/data ro', '/data rw')),
      /"\/data" lacks the option ro/,
    ],
    'a mount without nosuid': [
      withMounts((text) => text.replace('/dev rw,nosuid', '/dev rw')),
      /"\/dev" lacks the option nosuid/,
    ],
    'a missing mount': [withMounts((text) => text.replace(/^113.*\n/m, '')), /"\/data" is missing/],
    'a mount twice': [
      withMounts((text) => `${text}200 110 8:1 / /data ro - ext4 x rw\n`),
      /"\/data" occurs twice/,
    ],
    'a foreign mount': [
      withMounts((text) => `${text}200 110 8:1 / /host rw - ext4 x rw\n`),
      /"\/host" is not in/,
    ],
    'another file system': [
      withMounts((text) => text.replace('- tmpfs tmpfs', '- ext4 x')),
      /file system ext4/,
    ],
    'a masked path that is visible': [
      withMounts((text) => text.replace(/^90.*\n/m, '')),
      /"\/proc\/keys" is not cov/,
    ],
    'a session of the node': [
      second({ inNodeSession: true }),
      /process 41 is in a session or a process group/,
    ],
    'a writable kernel setting': [
      withMounts((text) => text.replace('/proc/sys ro', '/proc/sys rw')),
      /"\/proc\/sys" is writable/,
    ],
  };
  for (const [what, [other, expected]] of Object.entries(cases))
    it(`are refused with ${what}`, () => {
      assert.match(shown(other), expected);
    });

  it('are refused with a lower oom_score_adj than the daemon has, if the specification sets none', () => {
    const { oomScoreAdj: _none, ...process } = spec.process;
    assert.equal(shown(seen, { ...spec, process }), '');
    assert.match(
      shown(second({ oomScoreAdj: -1_000 }), { ...spec, process }),
      /process 41 has oom_score_adj -1000/,
    );
  });

  it('are refused if the root file system must be read-only, and is not', () => {
    assert.match(
      shown(seen, { ...spec, root: { path: '/r', readonly: true } }),
      /root file system is writable/,
    );
  });

  it('are in a session of the node if a group has no number in their PID namespace', () => {
    const text = (sid: string, pgid: string): string => `NSpgid:\t${pgid}\nNSsid:\t${sid}\n`;
    assert.ok(!isInNodeSession(text('700\t1', '900\t10')));
    assert.ok(isInNodeSession(text('700\t0', '900\t10')));
    assert.ok(isInNodeSession(text('700\t1', '900\t0')));
    assert.throws(() => isInNodeSession('NSpgid:\t900\t10\n'), /does not report NSsid/);
  });

  it('are never read without a right that the kernel must report', () => {
    assert.throws(() => statusRights(status.replace(/^NoNewPrivs.*\n/m, '')), /does not report NoNewPrivs/);
    assert.throws(() => limitsOf('Limit  Soft  Hard\n'), /does not report "Max cpu time"/);
  });
});
