import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import { contains } from '../compare/contains.ts';
import { meet } from '../compare/lattice.ts';
import { answer } from '../explain/answer.ts';
import { parseQuestion } from '../explain/question.ts';
import { exportProfile } from '../export/export.ts';
import type { ExportFormat } from '../export/export.ts';
import { builtinNames, builtinProfile, defaultProfile } from '../profile/builtin.ts';
import { checkProfiles } from '../document/check.ts';
import { writeExactProfile } from '../document/exact.ts';
import type { Profile } from '../profile/model.ts';
import { argumentTest } from '../seccomp/argument-test.ts';
import { decision } from '../seccomp/decision.ts';
import { filteredPolicy } from '../seccomp/policy.ts';
import { importFrom } from './read-source.ts';
import type { NamedImport } from './read-source.ts';

const fixtures = join(import.meta.dirname, 'fixtures');
const target = { architecture: 'x86_64', capabilities: defaultProfile().capabilities } as const;
const read = (file: string): Promise<NamedImport[]> =>
  importFrom('auto', file, { target, profile: () => undefined });

function assertSame(a: Profile, b: Profile, what: string): void {
  assert.deepEqual([contains(a, b), contains(b, a)], [{ yes: true }, { yes: true }], what);
}

/** Exports the profile in a format, and imports the result. */
async function roundTrip(
  format: ExportFormat,
  profile: Profile,
): Promise<{ readonly back: Profile; readonly unmapped: readonly unknown[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'pc-export-'));
  try {
    const { files, unmapped } = exportProfile(format, 'it', profile, target);
    for (const { name, text } of files) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    const [found] = await read(format === 'oci-artifact' ? folder : join(folder, files[0]?.name ?? ''));
    assert.ok(found);
    return { back: found.profile, unmapped };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** libseccomp lets socketcall through, by which the default filters of engines allow any socket. */
function looserIn32(calls: string): object {
  const why = `other engines let x86 programs make calls of ${calls} that the profile refuses`;
  return { part: 'syscalls.architectures', why: `${why}: remove x86, or the conditions` };
}

it('an export lists calls that x86 programs get only from other engines', () => {
  const nonRoot = argumentTest(0, 32, { low: 1n });
  assert.ok(nonRoot !== undefined);
  const decided = decision('errno 1', [{ outcome: 'allow', when: [nonRoot] }]);
  for (const format of ['seccomp', 'spo-seccomp', 'oci-artifact', 'security-context'] as const)
    for (const [compat, expected] of [
      [['x86'], [looserIn32('setuid')]],
      [[], []],
    ] as const) {
      const syscalls = filteredPolicy('errno 1', [['setuid', decided]], compat);
      const { unmapped } = exportProfile(format, 'it', { ...defaultProfile(), syscalls }, target);
      assert.deepEqual(
        unmapped.filter(({ part }) => part === 'syscalls.architectures'),
        expected,
        format,
      );
    }
});

describe('profiles of other tools, imported and exported back', () => {
  for (const name of ['docker-default.json', 'crio-default.json', 'containerd-default.json']) {
    for (const format of ['seccomp', 'spo-seccomp', 'oci-artifact'] as const) {
      it(`${name} as ${format}: the same policy`, async () => {
        const [found] = await read(join(fixtures, name));
        assert.ok(found);
        assert.deepEqual(found.unmapped, []);
        const { back, unmapped } = await roundTrip(format, found.profile);
        assertSame(found.profile, back, name);
        const { syscalls } = found.profile;
        const has32 = syscalls.filtered && syscalls.compat.includes('x86');
        assert.deepEqual(unmapped, has32 ? [looserIn32('socketcall')] : []);
      });
    }
    it(`${name}: the meet with itself is itself; the class of int arguments is closed`, async () => {
      const [found] = await read(join(fixtures, name));
      assert.ok(found);
      assertSame(found.profile, meet(found.profile, structuredClone(found.profile)), name);
      const native = { ...found.profile, syscalls: { ...found.profile.syscalls, compat: [] } } as Profile;
      assert.equal(
        answer(native, parseQuestion('socket(0x100000028)')).yes,
        false,
        'AF_VSOCK with a high bit',
      );
    });
  }

  for (const name of readdirSync(fixtures).filter(
    (file) => file.startsWith('spo-') && !file.includes('selinux'),
  )) {
    it(`${name}: the same as a resource again`, async () => {
      const found = await read(join(fixtures, name));
      assert.ok(found.length > 0);
      for (const { profile, unmapped } of found) {
        assert.deepEqual(unmapped, []);
        const format = name.includes('apparmor') ? 'spo-apparmor' : 'spo-seccomp';
        const { back } = await roundTrip(format, profile);
        assertSame(profile, back, name);
      }
    });
  }

  it('SelinuxProfile: is reported as not expressible', async () => {
    const [found] = await read(join(fixtures, 'spo-selinuxprofile.yaml'));
    assert.match(found?.unmapped[0]?.why ?? '', /SELinux/);
  });

  it("docker's AppArmor text: what a profile can express is imported, the rest is listed by line", async () => {
    const [found] = await read(join(fixtures, 'docker-default.apparmor'));
    assert.ok(found);
    const asked = (text: string): boolean => answer(found.profile, parseQuestion(text)).yes;
    assert.deepEqual(
      [
        'read /etc/passwd',
        'write /etc/passwd',
        'write /proc/sysrq-trigger',
        'read /proc/kcore',
        'CAP_SYS_ADMIN',
      ].map(asked),
      [true, true, false, false, true],
    );
    assert.deepEqual(found.profile.mounts, []);
    assert.ok(found.unmapped.every(({ part }) => /docker-default\.apparmor:\d+$/.test(part)));
    assert.ok(found.unmapped.some(({ why }) => why.includes('signal')));
  });

  it('an exact profile reads back as itself', async () => {
    const names = [...builtinNames(), 'docker', 'crio', 'aa'];
    const others = await Promise.all(
      ['docker-default.json', 'crio-default.json', 'spo-apparmorprofile-sleep-crun.yaml'].map((file) =>
        read(join(fixtures, file)),
      ),
    );
    const profiles = [
      ...builtinNames().flatMap((name) => builtinProfile(name) ?? []),
      ...others.flatMap(([one]) => one?.profile ?? []),
    ];
    profiles.forEach((profile, at) => {
      const { exact, problems } = checkProfiles([
        { file: 'x.yaml', text: writeExactProfile(`p-${at}`, profile) },
      ]);
      assert.deepEqual(problems, []);
      assertSame(profile, exact[0]?.profile ?? defaultProfile(), names[at] ?? '');
    });
  });

  it('built-in profiles as security contexts: never looser without being listed', async () => {
    for (const name of builtinNames()) {
      const profile = builtinProfile(name) ?? defaultProfile();
      const { back, unmapped } = await roundTrip('security-context', profile);
      const grants = contains(profile, back);
      assert.ok(grants.yes || unmapped.length > 0, name);
    }
    assert.ok(existsSync(fixtures));
  });
});
