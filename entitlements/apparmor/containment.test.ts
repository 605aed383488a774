import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { fileExcess } from '../compare/files.ts';
import { arbitraryFiles } from '../compare/fixtures/arbitrary-profile.ts';
import { builtinProfile } from '../profile/builtin.ts';
import type { FileRules, Profile } from '../profile/model.ts';
import { withStandardDevices } from '../profile/standard-devices.ts';
import { appArmorWithin, hasAppArmorParser } from './parser.ts';
import { appArmorProfile } from './profile-text.ts';

const body = (rules: string): string => `profile t flags=(attach_disconnected) {\n${rules}\n}\n`;

/** `PORTCULLIS_APPARMOR_RUNS` sets the long form. Each run starts the parser twice. */
const runs = Number(process.env['PORTCULLIS_APPARMOR_RUNS'] ?? 25);

describe(
  'AppArmor texts, by their compiled automata',
  { skip: !hasAppArmorParser() && 'apparmor_parser is not installed' },
  () => {
    for (const [inner, outer, witness] of [
      ['/sys/** r, deny /sys/firmware/efi/** r,', '/sys/** r,', undefined],
      ['/sys/** r,', '/sys/** r, deny /sys/firmware/efi/** r,', 'read of /sys/firmware/efi/x'],
      ['owner /home/** r,', '/home/** r,', undefined],
      ['/home/** r,', 'owner /home/** r,', 'read of /home/x'],
      ['file,', 'file, deny /proc/kcore r,', 'read of /proc/kcore'],
      ['/a px -> x,', '/b px -> z, /a px -> x,', undefined],
      ['/a px -> x,', '/a px -> y,', 'execution under another profile of /a'],
      ['/a ux,', '/a ix,', 'execution under another profile of /a'],
      ['/a pix,', '/a ix,', 'execution under another profile of /a'],
      ['/a Px,', '/a px,', undefined],
      ['/a px,', '/a Px,', 'execution without environment scrubbing of /a'],
      ['capability chown,', 'capability,', undefined],
      ['capability,', 'capability chown,', 'the capability dac_override'],
      ['network inet,', 'network,', undefined],
      ['network,', 'network inet,', /^a socket/],
      ['signal send,', 'signal,', undefined],
      ['signal,', 'signal send peer=x,', /^a signal/],
      ['mount fstype=tmpfs -> /mnt/,', 'mount,', undefined],
      ['mount,', 'mount fstype=tmpfs,', /^a mount/],
      ['ptrace,', 'ptrace read,', /^tracing/],
      ['change_profile,', 'change_profile -> x,', /^a change of profile/],
      ['set rlimit nofile <= 99,', 'set rlimit nofile <= 100,', undefined],
      ['', 'set rlimit nofile <= 100,', 'more of the resource 7 than 100'],
      ['/a r, profile c { /b r, }', '/a r, profile c { /b w, }', 'in the profile c inside it: read of /b'],
    ] as const) {
      it(`${inner} ${witness === undefined ? 'is' : 'is not'} within ${outer}`, async () => {
        const answer = await appArmorWithin(body(inner), body(outer));
        const found = answer.yes ? undefined : answer.witness;
        if (witness instanceof RegExp) assert.match(found ?? '', witness);
        else assert.equal(found, witness);
      });
    }

    it('a profile that only complains denies nothing', async () => {
      const complains = 'profile t flags=(complain) { /a r, }\n';
      assert.deepEqual(await appArmorWithin(complains, body('/a r,')), {
        yes: false,
        witness: 'everything: it denies nothing',
      });
      assert.deepEqual(await appArmorWithin(body('/a r,'), complains), { yes: true });
    });

    it('a broken text is refused with the line', async () => {
      const refusal: unknown = await appArmorWithin(body('/a r,\n/b nonsense,'), body('')).catch(
        (error: unknown) => error,
      );
      assert.ok(isPortcullisError(refusal) && refusal.code === 'ENTITLEMENTS_BAD_PROFILE');
      assert.match(refusal.message, /line 3/);
    });

    it('agree with the automata of entitlements/files on random file rules', async () => {
      const ordinary = builtinProfile('default') as Profile;
      const textOf = (files: readonly FileRules[]): string =>
        appArmorProfile({ ...ordinary, apparmor: 'unconfined', files })?.text.replace(
          /^profile \S+/,
          'profile t',
        ) ?? '';
      const file = arbitraryFiles(fc).map((members) => members.slice(0, 1));
      await fc.assert(
        fc.asyncProperty(file, file, async (a, b) => {
          const [inner, outer] = [withStandardDevices(a), withStandardDevices(b)];
          const answer = await appArmorWithin(textOf(a), textOf(b));
          // AppArmor allows mapping of what may be read or executed, and a denial of reading alone does not
          // deny it. So only rules without denials are equivalent.
          const ours = fileExcess(outer, inner);
          if (ours !== undefined) assert.equal(answer.yes, false, JSON.stringify([a, b, ours]));
          else if ([...a, ...b].every(({ deny }) => deny.length === 0))
            assert.deepEqual(answer, { yes: true }, JSON.stringify([a, b]));
        }),
        { seed: 6061, numRuns: runs },
      );
    });
  },
);
