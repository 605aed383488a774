import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { TrustPolicy } from '../../trust/index.ts';
import type { PolicyRelease } from '../../trust/policy-release/index.ts';
import type { Course } from './course.ts';
import { isSame } from './state.ts';
import type { LostAdmission } from './state.ts';

/** A refusal that the policy in force has given. */
export interface Refusal extends LostAdmission {
  /** Id of its verdict. */
  readonly verdict: string;
  /** Whether a policy, asked about the same image with the same evidence, would admit it. */
  readonly admittedBy: (policy: TrustPolicy) => Promise<boolean>;
}

/** Refusals that are compared at one time, because each costs a decision; more at that time do not count. */
const mostCompared = 32;

/**
 * Counts the refusals that a new release causes: those of images that the release before would admit.
 * @param risen called when they reach the threshold of the release
 */
export function createRefusalWatch(
  course: Pick<Course, 'policyBefore' | 'state' | 'watchedUntil'>,
  { now, log }: { readonly now: () => Date; readonly log: Logger },
  risen: (release: PolicyRelease, lost: readonly LostAdmission[]) => Promise<void>,
): (refusal: Refusal) => void {
  let counted: { readonly release: PolicyRelease; readonly lost: Map<string, LostAdmission> } | undefined;
  let comparing = 0;

  async function compare(refusal: Refusal, release: PolicyRelease): Promise<void> {
    const policy = await course.policyBefore();
    if (policy === undefined || !(await refusal.admittedBy(policy))) return;
    const { active } = course.state();
    if (active === undefined || !isSame(active, release)) return;
    if (counted === undefined || !isSame(counted.release, release)) counted = { release, lost: new Map() };
    const { namespace, reference, outcome, rule } = refusal;
    // A kubelet repeats a request that was refused: it counts once.
    counted.lost.set(`${namespace}\n${reference}`, { namespace, reference, outcome, rule });
    if (counted.lost.size >= release.halt.denials) await risen(release, [...counted.lost.values()]);
  }

  return (refusal) => {
    const { active } = course.state();
    if (active === undefined || now().getTime() >= course.watchedUntil() || comparing >= mostCompared) return;
    comparing += 1;
    compare(refusal, active)
      .catch((thrown: unknown) =>
        log.error(
          { verdict: refusal.verdict, cause: reasonOf(thrown) },
          'a refusal could not be compared with the previous release',
        ),
      )
      .finally(() => (comparing -= 1));
  };
}
