import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { after, before, describe, it } from 'node:test';
import { CAPABILITIES } from '../capabilities/capability-names.ts';
import { builtinProfile } from '../profile/builtin.ts';
import { loadProfiles } from '../document/load.ts';
import type { Profile } from '../profile/model.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import type { Settings } from '../types.ts';
import { compile } from './compile.ts';
import { temporaryBundle } from './fixtures/container.ts';
import type { Runtime } from './fixtures/container.ts';
import { probeProgram, probeResults } from './fixtures/probe-program.ts';
import type { RawCall } from './fixtures/probe-program.ts';
import { detectKernel } from './kernel.ts';

const WEB = fileURLToPath(new URL('../document/fixtures/web.yaml', import.meta.url));
const EPERM = -1n;
const NAMESPACES = { ipc: true, mnt: true, net: true, pid: true, uts: true };
/** A release that differs from the machine's, installed by `test/peers/get runc`. */
const PEER_RUNC = '/var/cache/portcullis-peers/bin/runc';

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  for (const command of ['crun', 'runc', 'busybox', 'unshare'])
    if (spawnSync(command, ['--help']).error !== undefined) return `${command} is not installed`;
  return false;
}

/** Returns this process's bounding set. */
function heldCapabilities(): string[] {
  const bits = BigInt(
    `0x${/^CapBnd:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'}`,
  );
  return CAPABILITIES.filter((_, number) => ((bits >> BigInt(number)) & 1n) === 1n);
}

describe('on the running kernel', { skip: missing() }, () => {
  let bundle: ReturnType<typeof temporaryBundle>;
  before(() => {
    bundle = temporaryBundle();
  });
  after(() => bundle.remove());

  function settingsOf(profile: Profile, runtime: Runtime): Settings {
    return compile(profile, {
      architecture: 'x86_64',
      runtime,
      kernel: detectKernel(),
      heldCapabilities: heldCapabilities(),
    });
  }

  function builtin(name: string): Profile {
    const profile = builtinProfile(name);
    assert.ok(profile);
    return { ...profile, ambient: [] };
  }

  function probe(runtime: Runtime, profile: Profile, calls: readonly RawCall[], user = 0): bigint[] {
    writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls), { mode: 0o755 });
    const { status, stdout, stderr } = bundle.run(
      runtime,
      settingsOf(profile, runtime),
      ['/bin/probe'],
      user,
    );
    assert.equal(status, 0, stderr);
    return probeResults(stdout);
  }

  for (const runtime of ['crun', 'runc'] as const) {
    it(`${runtime}: the default filter compares socket families in 32 bits`, () => {
      const families = [1n, 2n, 38n, 0x100000026n, 40n, 0x100000028n, 46n];
      const results = probe(
        runtime,
        builtin('default'),
        families.map((family) => ({ nr: 41, args: [family, 1n] })),
      );
      assert.deepEqual(
        results.map((result) => (result >= 0n ? 'opened' : result)),
        ['opened', 'opened', EPERM, EPERM, EPERM, EPERM, EPERM],
      );
    });

    it(`${runtime}: the default filter forbids namespaces and mounts, and returns ENOSYS for unknown system calls`, () => {
      const results = probe(runtime, builtin('default'), [
        { nr: 272, args: [0x10000000n] }, // unshare(CLONE_NEWUSER)
        { nr: 165 }, // mount
        { nr: 435 }, // clone3
        { nr: 600 },
        { nr: 135, args: [0xffffffffn] }, // personality: what is it?
        { nr: 135, args: [8n] },
        { nr: 135, args: [0x0400000n] },
      ]);
      assert.deepEqual(results, [EPERM, EPERM, -38n, -38n, 0n, 0n, EPERM]);
    });

    it(`${runtime}: privileged is not filtered`, () => {
      const results = probe(runtime, builtin('privileged'), [
        { nr: 135, args: [0xffffffffn] },
        { nr: 435 }, // clone3 of no size
      ]);
      assert.deepEqual(results, [0n, -22n]);
    });

    it(`${runtime}: exact ranges hold: write to 3…99 only`, () => {
      const [low, high] = [3n, 99n];
      const test = argumentTest(0, 32, { low, high });
      const output = argumentTest(0, 32, { low: 1n, high: 1n });
      assert.ok(test !== undefined && output !== undefined);
      const base = builtin('default');
      assert.ok(base.syscalls.filtered);
      // This uses writev, because write is part of what the runtimes need.
      const rules = new Map([
        ...base.syscalls.rules,
        ['writev', decision('errno 1', [{ outcome: 'allow', when: [test] }])] as const,
      ]);
      const profile = { ...base, syscalls: filteredPolicy('errno 1', rules) };
      const results = probe(
        runtime,
        profile,
        [2n, 3n, 99n, 100n, 0x100000003n].map((fd) => ({ nr: 20, args: [fd] })),
      );
      assert.deepEqual(results, [EPERM, -9n, -9n, EPERM, -9n]);
    });

    it(`${runtime}: the settings are in force in the container`, () => {
      const limits = {
        NOFILE: { soft: 77n, hard: 99n },
        CORE: { soft: 0n, hard: 0n },
        NPROC: { soft: 1n << 40n, hard: 1n << 62n },
      };
      const profile: Profile = {
        ...builtin('default'),
        capabilities: ['CHOWN', 'NET_BIND_SERVICE'],
        ambient: ['NET_BIND_SERVICE'],
        noNewPrivileges: true,
        readonlyRootfs: true,
        limits,
      };
      const settings = settingsOf(profile, runtime);
      const own = Object.keys(NAMESPACES).map((name) => readlinkSync(`/proc/self/ns/${name}`));
      const script = `grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; grep -E 'open files|core file|Max processes' /proc/self/limits
        for ns in ${Object.keys(NAMESPACES).join(' ')}; do readlink /proc/self/ns/$ns; done
        echo >/x; echo >/proc/sys/kernel/hostname; wc -c < /proc/keys; cat /proc/acpi/* /sys/firmware/*`;
      const { stdout, stderr } = bundle.run(runtime, settings, ['sh', '-c', `(${script}) 2>&1`], 1000);
      const said = stdout.toString() + stderr;
      const bit = (number: number): string => (1n << BigInt(number)).toString(16).padStart(16, '0');
      // NET_BIND_SERVICE (10) is inheritable because it is ambient, and nothing else is (CVE-2022-24769).
      for (const [set, value] of Object.entries({
        Inh: bit(10),
        Prm: bit(10),
        Eff: bit(10),
        Bnd: '0000000000000401',
        Amb: bit(10),
      }))
        assert.match(said, new RegExp(`^Cap${set}:\\s+${value}$`, 'm'), `Cap${set} in ${said}`);
      assert.match(said, /^NoNewPrivs:\s+1$/m);
      assert.match(said, /^Seccomp:\s+2$/m);
      assert.match(said, /Max open files\s+77\s+99 /);
      assert.match(said, /Max core file size\s+0\s+0 /);
      const { soft, hard } = settings.rlimits.find(({ type }) => type === 'RLIMIT_NPROC') ?? {};
      assert.match(said, new RegExp(`Max processes\\s+${soft}\\s+${hard} `));
      for (const link of own) assert.ok(!said.includes(link), `${link} is the host's`);
      assert.match(said, /can't create \/x: Read-only file system/);
      assert.match(said, /can't create \/proc\/sys\/kernel\/hostname: (Read-only|Permission)/);
      assert.match(said, /^0$/m, '/proc/keys is masked');
    });

    it(`${runtime}: the inheritable set is empty without ambient capabilities`, () => {
      const { stdout } = bundle.run(runtime, settingsOf(builtin('default'), runtime), [
        'grep',
        'CapInh',
        '/proc/self/status',
      ]);
      assert.match(stdout.toString(), /^CapInh:\s+0000000000000000$/m);
    });

    it(`${runtime}: starts when the profile grants no system call at all, as any user, with and without no_new_privs`, () => {
      const write = filteredPolicy('errno 1', [
        ['write', { otherwise: 'allow', pieces: [] }],
        ['exit', { otherwise: 'allow', pieces: [] }],
      ]);
      for (const noNewPrivileges of [false, true]) {
        for (const user of [0, 1000]) {
          const profile = { ...builtin('default'), noNewPrivileges, syscalls: write };
          const results = probe(runtime, profile, [{ nr: 102 }, { nr: 41, args: [2n, 1n] }], user);
          assert.deepEqual(results, [EPERM, EPERM]);
        }
      }
    });

    it(`${runtime}: the web profile forbids and allows what it says`, async () => {
      const web = (await loadProfiles({ paths: [WEB] })).resolve('web');
      assert.ok(web);
      const shell = (profile: Profile, script: string): string => {
        const { stdout, stderr } = bundle.run(runtime, settingsOf(profile, runtime), [
          'sh',
          '-c',
          `${script} 2>&1`,
        ]);
        return stdout.toString() + stderr;
      };
      const script =
        'linux32 true; echo linux32 $?; unshare -U true; echo unshare $?; echo x > /tmp/x; chown 1 /tmp/x; echo chown $?; grep CapEff /proc/self/status; cat /tmp/x';
      const confined = shell(web, script);
      assert.match(confined, /Operation not permitted/);
      for (const line of [/linux32 1/, /unshare 1/, /chown 1/, /CapEff:\s+0000000000000000/, /^x$/m])
        assert.match(confined, line);
      const free = shell(builtin('privileged'), script);
      for (const line of [/linux32 0/, /unshare 0/, /chown 0/]) assert.match(free, line);
    });
  }

  it(
    'the runc of test/peers starts on its base set too',
    { skip: existsSync(PEER_RUNC) ? false : 'test/peers/get runc' },
    () => {
      const other = temporaryBundle({ runc: PEER_RUNC });
      try {
        writeFileSync(join(other.root, 'bin/probe'), probeProgram([{ nr: 102 }]), { mode: 0o755 });
        for (const noNewPrivileges of [false, true]) {
          const profile = { ...builtin('default'), noNewPrivileges, syscalls: filteredPolicy('errno 1', []) };
          const { status, stdout, stderr } = other.run('runc', settingsOf(profile, 'runc'), ['/bin/probe']);
          assert.equal(status, 0, stderr);
          assert.deepEqual(probeResults(stdout), [EPERM]);
        }
      } finally {
        other.remove();
      }
    },
  );

  it('crun: programs of x86 are killed unless the profile names them; then sockets are compared as usual', () => {
    const calls = [
      { nr: 20 }, // getpid
      { nr: 359, args: [38n, 1n] }, // socket(AF_ALG)
      { nr: 102, args: [1n] }, // socketcall(SYS_SOCKET)
      { nr: 122 }, // uname of nothing: EFAULT
      { nr: 310, args: [0x10000000n] }, // unshare(CLONE_NEWUSER)
    ];
    writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls, 'x86'), { mode: 0o755 });
    const standard = builtin('default');
    assert.ok(standard.syscalls.filtered);
    const killed = bundle.run('crun', settingsOf(standard, 'crun'), ['/bin/probe']);
    assert.notEqual(killed.status, 0);
    assert.equal(killed.stdout.length, 0);
    const named: Profile = { ...standard, syscalls: { ...standard.syscalls, compat: ['x86'] } };
    const { status, stdout, stderr } = bundle.run('crun', settingsOf(named, 'crun'), ['/bin/probe']);
    assert.equal(status, 0, stderr);
    assert.deepEqual(
      probeResults(stdout).map((result) => BigInt.asIntN(32, result)),
      [1n, EPERM, EPERM, -14n, EPERM],
    );
  });
});
