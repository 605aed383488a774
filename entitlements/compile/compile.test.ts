import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { builtinProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { always } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import { compile } from './compile.ts';
import type { Target } from './target.ts';
import { describeSettings, settingsToJson } from './describe.ts';
import { settingsDigest } from './digest.ts';
import { boundLimits, detectKernel } from './kernel.ts';

const THERMAL = '/sys/devices/system/cpu/cpu*/thermal_throttle';
const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: {
    seccomp: true,
    apparmor: true,
    expanded: { [THERMAL]: ['/sys/devices/system/cpu/cpu0/thermal_throttle'] },
  },
};

function builtin(name: string): Profile {
  const profile = builtinProfile(name);
  assert.ok(profile);
  return profile;
}

describe('compile', () => {
  it('gives the kernel the settings of the default profile', () => {
    const settings = compile(builtin('default'), target);
    assert.equal(settings.capabilities.bounding.length, 14);
    assert.deepEqual(settings.capabilities.inheritable, []);
    assert.ok(settings.seccomp !== undefined && settings.seccomp.bpf.length % 8 === 0);
    assert.equal(settings.maskedPaths.length, 13);
    assert.ok(settings.maskedPaths.includes('/sys/devices/system/cpu/cpu0/thermal_throttle'));
    assert.equal(settings.readonlyPaths.length, 5);
    assert.deepEqual(settings.devices[0], { allow: false, type: 'a', access: 'rwm' });
    assert.ok(
      settings.devices.some(
        ({ allow, type, major, minor }) => allow && type === 'c' && major === 1 && minor === 3,
      ),
    );
    assert.deepEqual(
      [
        settings.noNewPrivileges,
        settings.hostDevices,
        settings.networkClass,
        settings.hostNamespaces,
        settings.writableSys,
        settings.degraded,
      ],
      [false, false, 'user', [], false, []],
    );
  });

  it('distinguishes policies by their digest, whatever their names of system calls are', () => {
    const digestOf = (rules: readonly string[]): string =>
      settingsDigest(
        {
          ...builtin('default'),
          syscalls: filteredPolicy(
            'kill-process',
            rules.map((name) => [name, always(name === 'bpf' ? 'allow' : 'errno 1')] as const),
          ),
        },
        target,
      );
    assert.notEqual(digestOf(['aa', 'bpf', 'c']), digestOf(['aa: errno 1\nbpf: allow\nc']));
  });

  it('keeps a star that is the name of a file', () => {
    const paths = { masked: ['/srv/*', THERMAL], readonly: ['/srv/a*b'] };
    const { maskedPaths, readonlyPaths } = compile({ ...builtin('default'), paths }, target);
    assert.deepEqual(maskedPaths, ['/srv/*', '/sys/devices/system/cpu/cpu0/thermal_throttle']);
    assert.deepEqual(readonlyPaths, ['/srv/a*b']);
  });

  it('forbids nothing for privileged', () => {
    const settings = compile(builtin('privileged'), target);
    assert.equal(settings.seccomp, undefined);
    assert.deepEqual(
      [settings.maskedPaths, settings.readonlyPaths, settings.devices],
      [[], [], [{ allow: true, type: 'a', access: 'rwm' }]],
    );
    assert.ok(settings.hostDevices && settings.writableSys);
  });

  it('is deterministic, and reuses earlier results', () => {
    const [first, second] = [
      compile({ ...builtin('baseline') }, target),
      compile({ ...builtin('baseline') }, { ...target }),
    ];
    assert.equal(first, second);
    assert.equal(first.digest, settingsDigest(builtin('baseline'), target));
    const others = [
      compile(builtin('baseline'), { ...target, runtime: 'runc' }),
      compile(builtin('baseline'), { ...target, architecture: 'aarch64' }),
      compile(builtin('default'), target),
    ];
    assert.equal(new Set([first, ...others].map((settings) => settings.digest)).size, 4);
  });

  it('reports what is degraded: no AppArmor, capabilities that the daemon lacks, calls that the runtime needs', () => {
    const narrow = { ...builtin('default'), syscalls: filteredPolicy('errno 1', []) };
    const { degraded, capabilities } = compile(narrow, {
      ...target,
      kernel: { ...target.kernel, apparmor: false },
      heldCapabilities: ['CHOWN'],
    });
    assert.deepEqual(capabilities.bounding, ['CHOWN']);
    assert.match(degraded.join('\n'), /crun needs these system calls .*execve/);
    assert.match(degraded.join('\n'), /AppArmor cannot be used/);
    assert.match(degraded.join('\n'), /lacks .*SETUID/);
  });

  it('reports standard devices that a profile cannot take away', () => {
    const { devices } = builtin('default');
    const without = devices.filter(({ major, minor }) => major !== 1 || minor !== 3);
    const { degraded } = compile({ ...builtin('default'), devices: without }, target);
    assert.deepEqual(degraded, ['every OCI runtime always allows the devices c 1:3 rw']);
    assert.deepEqual(compile(builtin('default'), target).degraded, []);
  });

  it('lowers limits that the daemon may not raise, and says so', () => {
    const status = 'CapEff:\t00000000a80425fb\n';
    const text =
      'Max processes             96365                96365                processes \nMax cpu time              unlimited            unlimited            seconds\n';
    const hardLimits = boundLimits(status, text);
    assert.deepEqual(hardLimits, { NPROC: 96365n });
    assert.equal(boundLimits('CapEff:\t000001ffffffffff\n', text), undefined, 'CAP_SYS_RESOURCE raises any');
    const limits = { NPROC: { soft: 5n, hard: 100_000n }, CPU: { soft: 7n, hard: 1n << 63n } };
    const kernel = { ...target.kernel, ...(hardLimits !== undefined && { hardLimits }) };
    const { rlimits, degraded } = compile({ ...builtin('default'), limits }, { ...target, kernel });
    assert.deepEqual(rlimits, [
      { type: 'RLIMIT_CPU', soft: 7n, hard: 1n << 63n },
      { type: 'RLIMIT_NPROC', soft: 5n, hard: 96365n },
    ]);
    assert.match(degraded.join('\n'), /lowers NPROC to 96365/);
  });

  it('reports which rules for compatibility architectures differ from what is written', () => {
    const { syscalls } = builtin('default');
    assert.ok(syscalls.filtered);
    const sentences = (runtime: string): string =>
      compile(
        { ...builtin('default'), syscalls: { ...syscalls, compat: ['arm', 'x86'] } },
        { ...target, runtime },
      ).degraded.join('\n');
    assert.match(
      sentences('crun'),
      /x86_64 cannot run programs of arm\n.*socketcall answers errno 1, ipc answers allow/,
    );
    assert.match(sentences('runc'), /under runc their calls are killed/);
  });

  it('refuses to drop a filter that the kernel cannot load', () => {
    assert.throws(
      () => compile(builtin('default'), { ...target, kernel: { ...target.kernel, seccomp: false } }),
      {
        code: 'ENTITLEMENTS_UNSUPPORTED',
      },
    );
  });

  it('costs at most 15 ms for a profile it has not seen', () => {
    compile(builtin('default'), { ...target, runtime: 'warm' });
    const times = Array.from({ length: 5 }, (_, at) => {
      const start = performance.now();
      compile(builtin('default'), { ...target, heldCapabilities: ['CHOWN', `UNUSED_${at}`] });
      return performance.now() - start;
    });
    assert.ok(Math.min(...times) <= 15, times.join(' '));
  });

  it('describes itself in words and as JSON', () => {
    const settings = compile(builtin('default'), target);
    const text = describeSettings('default', builtin('default'), settings);
    for (const expected of [
      /socket: allow if arg0 in 0…14/,
      /capabilities +AUDIT_WRITE/,
      /class user/,
      new RegExp(settings.digest),
    ])
      assert.match(text, expected);
    const json = JSON.parse(JSON.stringify(settingsToJson(settings))) as { seccomp: { bpf: string } };
    assert.deepEqual(new Uint8Array(Buffer.from(json.seccomp.bpf, 'base64')), settings.seccomp?.bpf);
  });

  it('describes the ambient capabilities of a container, and those that a pod may request', () => {
    const restricted = builtin('restricted');
    for (const [ambient, expected] of [
      [[], /^ambient +none; a pod may request NET_BIND_SERVICE$/m],
      [['NET_BIND_SERVICE'], /^ambient +NET_BIND_SERVICE$/m],
    ] as const)
      assert.match(
        describeSettings('restricted', restricted, compile({ ...restricted, ambient }, target)),
        expected,
      );
    const plain = builtin('default');
    assert.match(describeSettings('default', plain, compile(plain, target)), /^ambient +none$/m);
  });

  it('reads the running kernel’s features', () => {
    const kernel = detectKernel();
    assert.equal(typeof kernel.apparmor, 'boolean');
    assert.ok(THERMAL in kernel.expanded);
  });
});
