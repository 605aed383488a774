import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { topProfile } from '../profile/builtin.ts';
import { checkProfiles } from '../document/check.ts';
import type { Profile } from '../profile/model.ts';
import { programDifference } from '../proof/prove.ts';
import { decide } from '../seccomp/decision.ts';
import { decisionFor } from '../seccomp/policy.ts';
import { basePolicy } from './base-set.ts';
import { compile } from './compile.ts';
import type { Target } from './target.ts';
import { temporaryBundle } from './fixtures/container.ts';
import type { Runtime } from './fixtures/container.ts';
import { probeProgram, probeResults } from './fixtures/probe-program.ts';
import { detectKernel } from './kernel.ts';
import { enforcedSyscalls } from './mount-rules.ts';

const target: Target = {
  architecture: 'x86_64',
  runtime: 'crun',
  kernel: { seccomp: true, apparmor: true, expanded: {} },
};
const withoutAppArmor: Target = { ...target, kernel: { ...target.kernel, apparmor: false } };

function profileOf(lines: string): Profile {
  const text = `apiVersion: portcullis.dev/v1alpha1\nkind: EntitlementProfile\nmetadata: { name: x }\n${lines}\n`;
  const { profiles, problems } = checkProfiles([{ file: 'f', text }]);
  assert.deepEqual(problems, []);
  const [found] = profiles;
  assert.ok(found);
  return found.profile;
}

const some =
  'entitlements: [kernel.mounts]\nmounts: [{ target: /mnt/a, fstype: tmpfs }, { target: "/mnt/ro/**", readonly: true }]';
const none = 'entitlements: [kernel.mounts]\nmounts: []';

function answers(profile: Profile, where: Target): string[] {
  const policy = enforcedSyscalls(profile, where);
  return ['mount', 'pivot_root', 'umount2', 'fsopen', 'mount_setattr', 'getpid'].map((name) =>
    policy.filtered ? decide(decisionFor(policy, name), []) : 'unfiltered',
  );
}

describe('rules on mounts', () => {
  it('leave mount(2) to AppArmor, and remove the calls that it does not check', () => {
    const profile = profileOf(some);
    assert.deepEqual(answers(profile, target), ['allow', 'allow', 'allow', 'errno 38', 'errno 38', 'allow']);
    const { apparmor, degraded } = compile(profile, target);
    assert.match(degraded.join('\n'), /apply to mount\(2\); fsconfig, .* answer ENOSYS/);
    const text = apparmor?.text ?? '';
    assert.match(text, /^ {2}mount fstype=\(tmpfs\) -> "\/mnt\/a\{,\/\}",$/m);
    assert.match(
      text,
      /^ {2}mount options=\(ro\) options in \(nosuid,.*,silent\) -> "\/mnt\/ro\/\{,\*\*\}\{,\/\}",$/m,
    );
    assert.match(text, /^ {2}umount "\/mnt\/a\{,\/\}",$/m);
    assert.match(text, /^ {2}deny pivot_root,$/m);
    assert.doesNotMatch(text, /^ {2}(mount|umount|pivot_root),$/m);
  });

  it('are refused without AppArmor; if the policy allows the degraded form, nothing can be mounted', () => {
    const profile = profileOf(some);
    assert.throws(() => compile(profile, withoutAppArmor), {
      code: 'ENTITLEMENTS_UNENFORCEABLE',
      message: /no AppArmor.*onDegraded/s,
    });
    const lax = { ...withoutAppArmor, allowDegraded: true };
    assert.match(compile(profile, lax).degraded.join('\n'), /nothing can be mounted/);
    assert.deepEqual(answers(profile, lax), ['errno 1', 'errno 1', 'allow', 'errno 38', 'errno 38', 'allow']);
  });

  it('that allow no mount are enforced by the filter alone', () => {
    for (const where of [target, withoutAppArmor])
      assert.deepEqual(answers(profileOf(none), where), [
        'errno 1',
        'errno 1',
        'allow',
        'errno 38',
        'errno 38',
        'allow',
      ]);
    assert.match(compile(profileOf(none), target).apparmor?.text ?? '', /^ {2}deny mount,$/m);
  });

  it('report and change nothing if the calls are denied anyway', () => {
    const profile = profileOf('mounts: [{ target: /mnt/a }]');
    assert.equal(enforcedSyscalls(profile, withoutAppArmor), profile.syscalls);
    assert.deepEqual(compile(profile, target).degraded, []);
  });

  it('are refused in a profile without a filter, because AppArmor alone cannot enforce them', () => {
    for (const mounts of [[], [{ fstype: '*', target: '/mnt/a', readonly: false }]])
      assert.throws(() => compile({ ...topProfile(), mounts }, target), {
        code: 'ENTITLEMENTS_UNENFORCEABLE',
      });
  });

  it('loosen no answer of the profile, and the filter is proved against them', () => {
    const killing = profileOf(`${some}\nsyscalls: { drop: [fsopen] }`);
    assert.deepEqual(answers(killing, target).slice(3, 4), ['errno 1']);
    for (const profile of [profileOf(some), profileOf(none), killing]) {
      const policy = enforcedSyscalls(profile, target);
      const { seccomp } = compile(profile, target);
      assert.ok(policy.filtered && seccomp !== undefined);
      assert.equal(
        programDifference({ policy, architecture: 'x86_64', base: basePolicy('crun') }, seccomp.bpf),
        undefined,
      );
    }
  });
});

function missing(): string | false {
  if (process.arch !== 'x64') return 'the probe program is x86_64 code';
  if (process.getuid?.() !== 0) return 'it takes root to start containers';
  for (const command of ['crun', 'runc', 'busybox'])
    if (spawnSync(command, ['--help']).error !== undefined) return `${command} is not installed`;
  return false;
}

describe('rules on mounts, on the running kernel', { skip: missing() }, () => {
  for (const runtime of ['crun', 'runc'] as const satisfies readonly Runtime[]) {
    it(`${runtime}: a profile that may mount and allows none mounts nothing, by no call`, () => {
      const bundle = temporaryBundle();
      try {
        const calls = [
          { nr: 165 },
          { nr: 155 },
          { nr: 430 },
          { nr: 429, args: [-1n] },
          { nr: 442, args: [-1n] },
          { nr: 428, args: [-100n] },
        ];
        writeFileSync(join(bundle.root, 'bin/probe'), probeProgram(calls), { mode: 0o755 });
        const settings = compile(profileOf(none), {
          architecture: 'x86_64',
          runtime,
          kernel: detectKernel(),
        });
        const { status, stdout, stderr } = bundle.run(runtime, settings, ['/bin/probe']);
        assert.equal(status, 0, stderr);
        assert.deepEqual(probeResults(stdout), [-1n, -1n, -38n, -38n, -38n, -38n]);
      } finally {
        bundle.remove();
      }
    });
  }
});
