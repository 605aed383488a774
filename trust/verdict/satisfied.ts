import { signedEntitlements } from '../attestation/entitlements.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { TrustPolicy } from '../requirements/types.ts';
import type { EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { evaluateRequirement } from './requirement.ts';

/**
 * Whether the evidence satisfies every rule that matches the image, in whatever namespace, so that no more
 * evidence is needed. Decides nothing. Pure.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function satisfied(policy: TrustPolicy, evidence: Evidence, context: EvaluationContext): boolean {
  const reference = normaliseReference(context.reference);
  return policy.rules
    .filter((rule) => ruleNamesImage(rule, reference))
    .every((rule) => {
      if (rule.require !== undefined && evaluateRequirement(rule.require, evidence, context).answer !== 'yes')
        return false;
      return (
        rule.ceiling.require !== 'signed' ||
        signedEntitlements(rule, evidence, context).evaluation?.answer === 'yes'
      );
    });
}
