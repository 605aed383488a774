import { describeGpg } from '../gpg/evaluate.ts';
import { describeNotation } from '../notation/requirement.ts';
import { explainAttestation, explainSignedEntitlements } from '../attestation/explain.ts';
import { describeAuthority } from '../sigstore/authority.ts';
import type { Reason, Requirement, TrustPolicy, TrustRule } from '../types.ts';
import { inNamespace, matchRules, nobodySigns, noRule, normaliseReference, signedEntitlementsMissing } from './matching.ts';

/** What the policy says of one reference, without asking any registry. */
export interface PolicyExplanation {
  readonly reference: string;
  readonly namespace: string;
  readonly policyRevision: string;
  /** `requires`: evidence decides. `unverified`: admitted without any. `denied`: no evidence can admit it. */
  readonly outcome: 'requires' | 'unverified' | 'denied';
  readonly reasons: Reason;
}

/**
 * Which rules match a reference in a namespace and what they demand; offline.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function explainPolicy(policy: TrustPolicy, text: string, namespace: string): PolicyExplanation {
  const reference = normaliseReference(text);
  const matching = matchRules(policy, reference, namespace);
  const head = { reference: reference.text, namespace, policyRevision: policy.revision };
  const speaking = matching.requiring.length > 0 ? matching.requiring : matching.unverified;
  if (speaking.length === 0) return { ...head, outcome: 'denied', reasons: noRule(reference, namespace, matching) };
  const denied = speaking.some(nobodySigns);
  const outcome = denied ? 'denied' : matching.requiring.length > 0 ? 'requires' : 'unverified';
  const sentence = {
    denied: 'no evidence can admit it',
    requires: `every one of ${speaking.length} matching rule${speaking.length === 1 ? '' : 's'} must admit it`,
    unverified: 'it is admitted without any proof',
  }[outcome];
  const silenced = matching.requiring.length === 0 ? [] : matching.unverified.map(silencedRule);
  return {
    ...head,
    outcome,
    reasons: {
      counted: outcome !== 'denied',
      text: `${reference.text}${inNamespace(namespace)}: ${sentence}`,
      children: [...speaking.map(explainRule), ...silenced, ...matching.others],
    },
  };
}

function explainRule(rule: TrustRule): Reason {
  if (nobodySigns(rule)) return signedEntitlementsMissing(rule);
  const demand = rule.require === undefined ? 'allows it unverified' : 'matches and demands';
  const children = [
    ...(rule.require === undefined ? [] : [explainRequirement(rule.require)]),
    ...(rule.ceiling.require === 'signed' ? [explainSignedEntitlements(rule)] : []),
  ];
  return { counted: true, text: `rule ${rule.name} ${demand}; entitlements ceiling ${rule.ceiling.ceiling}`, children };
}

function explainRequirement(requirement: Requirement): Reason {
  if (requirement.kind === 'gpg') return { counted: true, text: describeGpg(requirement) };
  if (requirement.kind === 'notation') return { counted: true, text: describeNotation(requirement) };
  if (requirement.kind === 'cosign-key') return { counted: true, text: `a cosign signature by ${describeAuthority(requirement)}` };
  if (requirement.kind === 'sigstore') return { counted: true, text: `a keyless signature by ${describeAuthority(requirement)}` };
  if (requirement.kind === 'attestation') return explainAttestation(requirement);
  const needed = requirement.kind === 'threshold' ? `${requirement.count} of these ${requirement.of.length}` : `${requirement.kind} of`;
  return { counted: true, text: `${needed}:`, children: requirement.of.map(explainRequirement) };
}

function silencedRule(rule: TrustRule): Reason {
  return {
    counted: false,
    text: `rule ${rule.name} allows it unverified, which counts only where no other rule matches`,
    code: 'TRUST_UNVERIFIED_SILENCED',
  };
}
