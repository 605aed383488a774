import { evaluateAuthority } from '../findings/authority.ts';
import type { Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { describeAuthority } from './authority.ts';
import type { SigstoreAuthority } from './authority.ts';
import { checkItem } from './check-item.ts';
import { holdToRoot } from './root-expiry.ts';

/**
 * Evaluates whether the authority has signed the image with cosign, as a bundle or in cosign's older form.
 * Each signature that was found is a reason. Pure, and never throws.
 */
export function evaluateSigstore(
  requirement: SigstoreAuthority,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const checked = evidence.items
    .filter(isCosign)
    .map((item) => checkItem(item, requirement, evidence, context.now));
  const what = `a ${requirement.kind === 'sigstore' ? 'keyless' : 'cosign'} signature by ${describeAuthority(requirement)}`;
  return holdToRoot(
    evaluateAuthority(what, checked, requirement.constraints, evidence, context),
    requirement,
    context,
  );
}

function isCosign({ kind }: EvidenceItem): boolean {
  return kind === 'sigstore-bundle' || kind === 'cosign-simple-signing';
}
