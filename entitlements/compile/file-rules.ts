import { append } from '../../base/lists/index.ts';
import { entitlementsError } from '../errors.ts';
import { withStandardDevices } from '../profile/standard-devices.ts';
import { LANDLOCK_ABI } from '../landlock/launcher.ts';
import { planLandlock } from '../landlock/plan.ts';
import type { LandlockPlan } from '../landlock/plan.ts';
import type { LandlockRule } from '../types.ts';
import type { Profile } from '../profile/model.ts';
import type { Target } from './target.ts';

/**
 * Decides how the file rules of a profile are enforced: by AppArmor if the kernel has it, otherwise by
 * Landlock.
 * @param degraded gets a sentence for each deviation from the profile
 * @returns the rules of Landlock; undefined if AppArmor enforces them, if there are none, or if nothing can
 * enforce them
 * @throws ENTITLEMENTS_UNENFORCEABLE unless the target allows the degraded form
 */
export function enforcedFiles(
  profile: Profile,
  target: Target,
  degraded: string[],
): readonly LandlockRule[] | undefined {
  if (profile.files === undefined || target.kernel.apparmor) return undefined;
  if ((target.kernel.landlock ?? 0) < LANDLOCK_ABI) {
    const why = `this kernel has no AppArmor, and no Landlock of version ${LANDLOCK_ABI} or later (Linux 6.2)`;
    if (target.allowDegraded !== true) throw unenforceable(why);
    degraded.push(`${why}: the rules on files are not enforced`);
    return undefined;
  }
  const files = withStandardDevices(profile.files);
  const { rules, beyond } = planLandlock(files);
  if (beyond.length > 0 && target.allowDegraded !== true) {
    throw unenforceable(
      `without AppArmor, Landlock would have to enforce them, and it supports only files and whole folders: ${beyond.map(sentence).join('; ')}`,
    );
  }
  append(
    degraded,
    beyond.map((excess) => `Landlock supports only files and whole folders: ${sentence(excess)}`),
  );
  if (!profile.noNewPrivileges)
    degraded.push('Landlock needs no_new_privs: set-user-id programs and file capabilities have no effect');
  const changed = rules.filter(
    ({ path, kind, access }) => kind === 'file' && access.includes('write') && !path.startsWith('/dev/'),
  );
  if (changed.length > 0) {
    degraded.push(
      `Landlock allows changing single files, but not creating, removing or renaming them: ${changed.map(({ path }) => path).join(', ')}`,
    );
  }
  return rules;
}

function sentence({ access, pattern, rule, path }: LandlockPlan['beyond'][number]): string {
  return `${access} of \`${pattern}\` would become \`${rule}\`, which also gives ${access} of ${path}`;
}

function unenforceable(why: string): Error {
  return entitlementsError('ENTITLEMENTS_UNENFORCEABLE', {
    kind: 'precondition',
    attempted: 'enforce the rules on files',
    on: '',
    why,
    fix: 'write the rules as files and as folders with everything below (/app/**), use a node with AppArmor, or set `entitlements: { onDegraded: allow }` in the rule of the trust policy',
  });
}
