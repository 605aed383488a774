import { entitlementsError } from '../errors.ts';
import type { Profile } from '../profile/model.ts';
import { always, isConstant } from '../seccomp/decision.ts';
import { COMPAT_ARCHITECTURES, decisionFor, filteredPolicy, meetPolicies } from '../seccomp/policy.ts';
import type { SyscallPolicy } from '../seccomp/policy.ts';
import type { Target } from './target.ts';

/** ENOSYS, the answer of a kernel that does not have the call: mount(8) then uses mount(2). */
const UNKNOWN = 'errno 38';
/** EPERM, the answer to a process that may not mount. */
const REFUSED = 'errno 1';

/**
 * The mount calls of Linux 5.2 and later. AppArmor checks none of them before Linux 6.7, and never checks
 * those that change a mount through a descriptor: fsconfig(2), mount_setattr(2).
 */
const BY_DESCRIPTOR = [
  'fsconfig',
  'fsmount',
  'fsopen',
  'fspick',
  'mount_setattr',
  'move_mount',
  'open_tree',
  'open_tree_attr',
];

/** mount(2), and pivot_root(2), which moves two mounts. */
const BY_PATH = ['mount', 'pivot_root'];

/**
 * Returns the system calls of a profile as they are enforced. If the profile has rules on mounts, the calls
 * that would bypass them are removed. With AppArmor, mount(2) remains and AppArmor checks it. A profile that
 * allows no mount loses it as well.
 * @returns the profile's own policy if nothing is removed
 */
export function enforcedSyscalls(
  profile: Profile,
  target: { readonly kernel: Pick<Target['kernel'], 'apparmor'> },
): SyscallPolicy {
  const { syscalls, mounts } = profile;
  if (mounts === undefined || !mayMount(syscalls) || !syscalls.filtered) return syscalls;
  const judged = mounts.length > 0 && target.kernel.apparmor;
  const taken = [
    ...BY_DESCRIPTOR.map((name) => [name, always(UNKNOWN)] as const),
    ...(judged ? [] : BY_PATH.map((name) => [name, always(REFUSED)] as const)),
  ];
  return meetPolicies(syscalls, filteredPolicy('allow', taken, COMPAT_ARCHITECTURES));
}

/**
 * Checks whether the mount rules of a profile can be enforced for this target.
 * @param degraded gets a sentence for each deviation from the profile; a deviation always grants less
 * @throws ENTITLEMENTS_UNENFORCEABLE unless the target allows the degraded form, in which nothing can be
 * mounted
 */
export function checkMountRules({ syscalls, mounts }: Profile, target: Target, degraded: string[]): void {
  if (mounts === undefined || !mayMount(syscalls)) return;
  // Without a filter the rules have no effect: calls that AppArmor does not check would pass.
  if (!syscalls.filtered)
    throw unenforceable(
      'the profile filters no system call, and AppArmor does not check fsmount(2) and similar calls',
    );
  if (mounts.length === 0) return;
  if (target.kernel.apparmor) {
    degraded.push(`rules on mounts apply to mount(2); ${BY_DESCRIPTOR.join(', ')} answer ENOSYS`);
    return;
  }
  const why =
    'this kernel has no AppArmor, and a filter of system calls does not see paths and file system types';
  if (target.allowDegraded !== true) throw unenforceable(why);
  degraded.push(`${why}: nothing can be mounted`);
}

/** Returns whether a call that creates or changes a mount gets an answer looser than an error. */
function mayMount(policy: SyscallPolicy): boolean {
  if (!policy.filtered) return true;
  return [...BY_PATH, ...BY_DESCRIPTOR].some((name) => {
    const decision = decisionFor(policy, name);
    return !isConstant(decision) || decision.otherwise === 'allow' || decision.otherwise === 'log';
  });
}

function unenforceable(why: string): Error {
  return entitlementsError('ENTITLEMENTS_UNENFORCEABLE', {
    kind: 'precondition',
    attempted: 'enforce the rules on mounts',
    on: '',
    why,
    fix: 'use a node with AppArmor, allow no mount (`mounts: []`), remove the system call mount, or set `entitlements: { onDegraded: allow }` in the rule of the trust policy: then nothing can be mounted',
  });
}
