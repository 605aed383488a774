import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { findAppArmorParser } from '../../base/process/index.ts';
import { arbitraryProfiles } from '../compare/fixtures/arbitrary-profile.ts';
import { builtinProfile, topProfile } from '../profile/builtin.ts';
import type { Profile } from '../profile/model.ts';
import { appArmorProfile } from './profile-text.ts';

const ordinary = builtinProfile('default') as Profile;
const parser = findAppArmorParser();

function textOf(change: Partial<Profile> = {}): string {
  return appArmorProfile({ ...ordinary, ...change })?.text ?? '';
}

describe('the AppArmor profile of a container', () => {
  it('is absent if the profile demands none', () => assert.equal(appArmorProfile(topProfile()), undefined));

  it('protects mounts, the kernel’s files and other containers by default', () => {
    assert.equal(appArmorProfile(ordinary)?.name, 'portcullis-default');
    for (const rule of [
      'deny mount,',
      'deny /proc/sys/** w,',
      'deny /proc/kcore rwklx,',
      'deny network alg,',
      'deny /sys/kernel/security/** rwklx,',
    ])
      assert.ok(textOf().includes(`  ${rule}\n`), rule);
  });

  for (const [what, change, name, rule] of [
    ['mounts with SYS_ADMIN', { capabilities: [...ordinary.capabilities, 'SYS_ADMIN'] }, 'mount', 'mount,'],
    ['a writable /proc/sys', { paths: { masked: ordinary.paths.masked, readonly: [] } }, 'proc', undefined],
    ['a writable /sys', { writableSys: true }, 'sys', undefined],
    ['local sockets alone without a network', { network: 'none' }, 'local', 'network unix,'],
  ] as const) {
    it(`grants ${what}`, () => {
      assert.equal(appArmorProfile({ ...ordinary, ...change })?.name, `portcullis-default.${name}`);
      const text = textOf(change);
      if (rule === undefined)
        assert.ok(!text.includes(name === 'proc' ? 'deny /proc/sys/** w' : 'deny /sys/[^f]*/** wklx'));
      else assert.ok(text.includes(`\n  ${rule}\n`));
    });
  }

  it('is the same for the same name, even if the profiles differ elsewhere, and contains no text of the profiles', () => {
    const byName = new Map<string, string>();
    fc.assert(
      fc.property(arbitraryProfiles(fc), ({ files: _files, mounts: _mounts, ...profile }) => {
        const found = appArmorProfile(profile);
        if (found === undefined) return;
        assert.equal(byName.get(found.name) ?? found.text, found.text);
        byName.set(found.name, found.text);
        assert.match(found.name, /^portcullis-default(\.[a-z]+)*$/);
      }),
    );
    assert.ok(byName.size <= 32);
  });

  it(
    'is accepted by apparmor_parser, in each combination',
    { skip: parser === undefined && 'apparmor_parser is not installed' },
    () => {
      const folder = mkdtempSync(join(tmpdir(), 'apparmor-'));
      try {
        const profiles = [false, true].flatMap((mount) =>
          [false, true].flatMap((sys) =>
            [false, true].flatMap((proc) =>
              (['none', 'user'] as const).map((network) =>
                appArmorProfile({
                  ...ordinary,
                  network,
                  writableSys: sys,
                  capabilities: mount ? ['SYS_ADMIN'] : [],
                  paths: proc ? { masked: [], readonly: [] } : ordinary.paths,
                }),
              ),
            ),
          ),
        );
        const file = join(folder, 'all');
        writeFileSync(file, profiles.map((profile) => profile?.text ?? '').join('\n'));
        const said = spawnSync(
          parser?.program ?? '',
          [
            '--skip-kernel-load',
            '--skip-cache',
            '--quiet',
            '--config-file',
            '/dev/null',
            '--base',
            parser?.base ?? '',
            file,
          ],
          {
            encoding: 'utf8',
          },
        );
        // On a kernel without AppArmor, the parser reports that it cannot keep what it compiled.
        assert.deepEqual(
          [said.status, said.stderr.replace(/^Cache read\/write disabled: .*\n/, '')],
          [0, ''],
        );
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );
});
