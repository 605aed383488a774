import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as fc from 'fast-check';
import { isPortcullisError } from '../../base/errors/index.ts';
import { builtinProfile, topProfile } from '../profile/builtin.ts';
import { deviceGrants, grantWithin, meetDevices } from '../profile/devices.ts';
import type { Profile } from '../profile/model.ts';
import { isUnder, joinPaths, meetPaths } from '../profile/paths.ts';
import type { PathRestrictions } from '../profile/model.ts';
import { contains } from './contains.ts';
import { arbitraryProfiles } from './fixtures/arbitrary-profile.ts';
import { join, meet } from './lattice.ts';

/** Returns whether a grants no more than b. */
function within(a: Profile, b: Profile): boolean {
  return contains(b, a).yes;
}

function same(a: Profile, b: Profile): boolean {
  return within(a, b) && within(b, a);
}

/** `PORTCULLIS_LATTICE_RUNS=10000` sets the long form. */
const runs = Number(process.env['PORTCULLIS_LATTICE_RUNS'] ?? 300);
const seed = 6061;
let refused = 0;

/** Random policies are sometimes too complex to combine, and are refused. This is not a counterexample. */
function unlessTooComplex(body: () => void): void {
  try {
    body();
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'ENTITLEMENTS_TOO_COMPLEX') throw error;
    refused += 1;
  }
}

const arbitraryProfile = arbitraryProfiles(fc);

describe('profiles as a lattice', () => {
  it('have exact greatest lower and least upper bounds', () => {
    fc.assert(
      fc.property(arbitraryProfile, arbitraryProfile, arbitraryProfile, (a, b, c) =>
        unlessTooComplex(() => {
          const [met, joined] = [meet(a, b), join(a, b)];
          assert.ok(within(met, a) && within(met, b) && within(a, joined) && within(b, joined));
          if (within(c, a) && within(c, b)) assert.ok(within(c, met));
          if (within(a, c) && within(b, c)) assert.ok(within(joined, c));
          assert.ok(same(met, meet(b, a)) && same(joined, join(b, a)));
          assert.ok(same(meet(a, a), a) && same(join(a, a), a));
          assert.ok(same(meet(a, joined), a) && same(join(a, met), a));
          assert.ok(same(meet(met, c), meet(a, meet(b, c))) && same(join(joined, c), join(a, join(b, c))));
        }),
      ),
      { seed, numRuns: runs },
    );
    assert.ok(refused < runs / 10, `${refused} were refused`);
  });

  it('explain a negative answer with something that one profile grants and the other does not', () => {
    fc.assert(
      fc.property(arbitraryProfile, arbitraryProfile, (a, b) =>
        unlessTooComplex(() => {
          const answer = contains(a, b);
          assert.equal(answer.yes, same(meet(a, b), b));
          if (!answer.yes) assert.match(answer.witness.sentence, /inner/);
        }),
      ),
      { seed, numRuns: runs },
    );
  });

  it('order the built-in profiles as the Pod Security Standards do', () => {
    const [standard, privileged, baseline, restricted] = [
      'default',
      'privileged',
      'baseline',
      'restricted',
    ].map((name) => builtinProfile(name));
    assert.ok(standard && privileged && baseline && restricted);
    assert.equal(privileged, topProfile());
    for (const profile of [standard, baseline, restricted]) assert.ok(within(profile, privileged));
    assert.ok(within(restricted, baseline));
    assert.ok(same(meet(standard, standard), standard));
    const answer = contains(baseline, standard);
    assert.deepEqual(answer.yes ? undefined : answer.witness.subject, 'NET_RAW');
    assert.ok(same(meet(standard, baseline), { ...baseline, ambient: [] }));
  });

  it('say which call with which arguments differs', () => {
    const standard = builtinProfile('default');
    assert.ok(standard?.syscalls.filtered);
    const rules = new Map(standard.syscalls.rules);
    rules.delete('socket');
    const answer = contains({ ...standard, syscalls: { ...standard.syscalls, rules } }, standard);
    assert.deepEqual(
      answer.yes ? undefined : answer.witness.sentence,
      'socket() is allowed by the inner, not by the outer',
    );
  });

  it('bound paths exactly: access to any path is the least or most of both', () => {
    const paths = [
      '/',
      '/proc',
      '/proc/sys',
      '/proc/sys/net',
      '/proc/kcore',
      '/sys',
      '/sys/class',
      '/sys/class/net',
      '/etc',
    ];
    const level = (of: PathRestrictions, path: string): number => {
      if (of.masked.some((top) => isUnder(path, top))) return 0;
      return of.readonly.some((top) => isUnder(path, top)) ? 1 : 2;
    };
    fc.assert(
      fc.property(arbitraryProfile, arbitraryProfile, (a, b) => {
        for (const path of paths) {
          assert.equal(
            level(meetPaths(a.paths, b.paths), path),
            Math.min(level(a.paths, path), level(b.paths, path)),
          );
          assert.equal(
            level(joinPaths(a.paths, b.paths), path),
            Math.max(level(a.paths, path), level(b.paths, path)),
          );
        }
      }),
      { numRuns: 200 },
    );
  });

  it('bound devices exactly', () => {
    fc.assert(
      fc.property(arbitraryProfile, arbitraryProfile, (a, b) => {
        const met = meetDevices(a.devices, b.devices);
        const joined = deviceGrants([...a.devices, ...b.devices]);
        for (const access of ['r', 'w', 'm'] as const) {
          for (const type of ['b', 'c'] as const) {
            for (let number = 0; number < 16; number++) {
              const one = { access, type, major: number >> 2, minor: number & 3 };
              const [inA, inB, inMet, inJoined] = [a.devices, b.devices, met, joined].map((grants) =>
                grants.some((grant) => grantWithin(one, grant)),
              );
              assert.equal(inMet, inA && inB);
              assert.equal(inJoined, inA || inB);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });
});
