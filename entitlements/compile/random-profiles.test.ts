import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import { arbitraryProfiles } from '../compare/fixtures/arbitrary-profile.ts';
import { programDifference } from '../proof/prove.ts';
import type { Profile } from '../profile/model.ts';
import { basePolicy } from './base-set.ts';
import { compile } from './compile.ts';
import type { Target } from './target.ts';
import { settingsToJson } from './describe.ts';
import { enforcedSyscalls } from './mount-rules.ts';

/**
 * More than compile caches, so that a second round compiles again. RANDOM_PROFILES=1000 sets the long form.
 */
const PROFILES = Number(process.env['RANDOM_PROFILES'] ?? 300);
const REFUSALS: readonly unknown[] = [
  // A pattern that no document can contain.
  'ENTITLEMENTS_BAD_PROFILE',
  'ENTITLEMENTS_TOO_COMPLEX',
  'ENTITLEMENTS_UNENFORCEABLE',
  'ENTITLEMENTS_UNSUPPORTED',
];
/** The number of profiles that are also proved, to limit the time. */
const PROVED = 40;

function made(profile: Profile, target: Target): string {
  try {
    return JSON.stringify(settingsToJson(compile(profile, target)));
  } catch (error) {
    const { code } = errorToJson(
      asPortcullisError(error, { code: 'NO_CODE', kind: 'internal', attempted: 'compile', on: '', fix: '' }),
    );
    assert.ok(REFUSALS.includes(code), String(error));
    return code;
  }
}

describe('random profiles', () => {
  it('compile to the same bytes each time, or are refused with a code; the result equals the profile', () => {
    const subjects = fc.sample(
      fc.record({
        profile: arbitraryProfiles(fc),
        plain: fc.boolean(),
        target: fc.record({
          architecture: fc.constantFrom('x86_64' as const, 'aarch64' as const),
          runtime: fc.constantFrom('crun', 'runc', 'other'),
          allowDegraded: fc.boolean(),
          kernel: fc.record({
            seccomp: fc.constant(true),
            apparmor: fc.boolean(),
            landlock: fc.constantFrom(0, 7),
            expanded: fc.constant({}),
          }),
        }),
      }),
      { seed: 11, numRuns: PROFILES },
    );
    const inputs = subjects.map(({ profile, plain, target }, at) => {
      if (!plain) return { profile, target };
      const { egress: _egress, ingress: _ingress, mounts: _mounts, files, ...rest } = profile;
      // Plans for Landlock take most of the time, so only a few profiles have them.
      const ruled = files !== undefined && at % 25 === 0 ? { files } : {};
      return {
        profile: {
          ...rest,
          ...ruled,
          resources: {},
          ownNamespaces: [],
          readonlyVolumes: false,
          nonRoot: false,
        },
        target,
      };
    });
    const first = inputs.map(({ profile, target }) => made(profile, target));
    const second = inputs.map(({ profile, target }) => made({ ...profile }, { ...target }));
    assert.deepEqual(second, first);
    const compiled = inputs.filter((_, at) => first[at]?.startsWith('{') === true);
    assert.ok(compiled.length > PROFILES / 5, `${compiled.length} compile`);
    for (const { profile, target } of compiled.slice(0, PROVED)) {
      const { seccomp, landlock } = compile(profile, target);
      const policy = enforcedSyscalls(profile, target);
      if (!policy.filtered || seccomp === undefined) continue;
      const subject = {
        policy,
        architecture: target.architecture,
        base: basePolicy(target.runtime, landlock !== undefined),
      };
      assert.equal(programDifference(subject, seccomp.bpf)?.sentence, undefined);
    }
  });
});
