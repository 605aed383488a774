import type { Profile } from '../profile/model.ts';
import type { FilteredPolicy, SyscallPolicy } from '../seccomp/policy.ts';
import { basePolicy } from './base-set.ts';
import { enforcedFiles } from './file-rules.ts';
import { enforcedSyscalls } from './mount-rules.ts';
import type { Target } from './target.ts';

/** The calls that the filter of a profile may allow. */
export interface EnforcedPolicy {
  readonly policy: SyscallPolicy;
  /** The calls that start the container: granted in addition to the policy. */
  readonly base?: FilteredPolicy;
}

/**
 * Returns the system calls of a profile as its filter enforces them: without the mount calls that would evade
 * its rules on mounts, and with those of the runtime and of the launcher that sets up Landlock.
 * @param target.runtime undefined: no runtime starts the program
 */
export function enforcedPolicy(
  profile: Profile,
  { runtime, ...target }: Omit<Target, 'runtime'> & { readonly runtime: string | undefined },
): EnforcedPolicy {
  const policy = enforcedSyscalls(profile, target);
  if (runtime === undefined) return { policy };
  // A filter whose profile cannot be enforced exactly here is still a filter to compare with.
  const rules = enforcedFiles(profile, { ...target, runtime, allowDegraded: true }, []);
  return { policy, base: basePolicy(runtime, rules !== undefined) };
}
