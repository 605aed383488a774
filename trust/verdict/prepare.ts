import { loadCel } from '../attestation/cel-loaded.ts';
import { loadPrehashed } from '../keys/prehash.ts';
import type { Requirement, TrustPolicy } from '../requirements/types.ts';

/**
 * Loads the modules that `decide` needs for a policy that `loadPolicy` did not load in this process, such as
 * a stored policy. Deciding is synchronous, so modules that few policies need are loaded in advance for those
 * policies only. Without them, their signatures do not count.
 * @throws Error when such a module of this program cannot be loaded
 */
export async function prepareDecision(policy: TrustPolicy): Promise<void> {
  const requirements = policy.rules.flatMap((rule) =>
    rule.require === undefined ? [] : leavesOf(rule.require),
  );
  if (requirements.some(needsPrehashed)) await loadPrehashed();
  if (requirements.some((requirement) => requirement.kind === 'attestation' && requirement.cel.length > 0))
    await loadCel();
}

function leavesOf(requirement: Requirement): readonly Requirement[] {
  if ('of' in requirement) return requirement.of.flatMap(leavesOf);
  return requirement.kind === 'attestation' ? [requirement, requirement.by] : [requirement];
}

function needsPrehashed(requirement: Requirement): boolean {
  return (
    requirement.kind === 'sigstore' ||
    requirement.kind === 'pki' ||
    (requirement.kind === 'cosign-key' && requirement.key.type === 'ed25519')
  );
}
