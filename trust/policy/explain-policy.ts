import { describeGpg } from '../gpg/evaluate.ts';
import { describeNotation } from '../requirements/notation.ts';
import { explainAttestation, explainSignedEntitlements } from '../attestation/explain-attestation.ts';
import { describeAuthority } from '../cosign/authority.ts';
import { describeTuf } from '../requirements/tuf.ts';
import type { Reason } from '../findings/types.ts';
import type { Requirement, TrustPolicy, TrustRule } from '../requirements/types.ts';
import { inForce, standingExceptions } from './break-glass.ts';
import type { StandingException } from './break-glass.ts';
import { describeConstraints } from '../requirements/constraints.ts';
import {
  deniedBy,
  inNamespace,
  matchRules,
  neverAdmits,
  nobodySigns,
  noRule,
  signedEntitlementsMissing,
} from './matching.ts';
import { normaliseReference } from '../requirements/named-images.ts';

/** The answer of the policy for one reference, without a request to any registry. */
export interface PolicyExplanation {
  readonly reference: string;
  readonly namespace: string;
  readonly policyRevision: string;
  /**
   * `requires`: evidence decides. `unverified`: the image is admitted without evidence. `denied`: no evidence
   * can admit it.
   */
  readonly outcome: 'requires' | 'unverified' | 'denied';
  readonly reasons: Reason;
}

/**
 * Explains offline which rules match a reference in a namespace and what they require.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function explainPolicy(
  policy: TrustPolicy,
  text: string,
  namespace: string,
  now: Date = new Date(),
): PolicyExplanation {
  const reference = normaliseReference(text);
  const matching = matchRules(policy, reference, namespace);
  const head = { reference: reference.text, namespace, policyRevision: policy.revision };
  const speaking = matching.requiring.length > 0 ? matching.requiring : matching.unverified;
  if (speaking.length === 0)
    return { ...head, outcome: 'denied', reasons: noRule(reference, namespace, matching) };
  const refuses = (rule: TrustRule): boolean => rule.mode !== 'report' && !inForce(rule.breakGlass, now);
  const denied = speaking.some((rule) => (rule.deny !== undefined || nobodySigns(rule)) && refuses(rule));
  const exceptions = standingExceptions(policy, now);
  const outcome = denied ? 'denied' : matching.requiring.length > 0 ? 'requires' : 'unverified';
  const sentence = {
    denied: 'no evidence can admit it',
    requires:
      speaking.length === 1
        ? 'the only matching rule must admit it'
        : `each of ${speaking.length} matching rules must admit it`,
    unverified: 'it is admitted without any proof',
  }[outcome];
  const silenced = matching.requiring.length === 0 ? [] : matching.unverified.map(silencedRule);
  return {
    ...head,
    outcome,
    reasons: {
      counted: outcome !== 'denied',
      text: `${reference.text}${inNamespace(namespace)}: ${sentence}`,
      children: [
        ...speaking.map((rule) => {
          const isDenial = rule.deny !== undefined;
          const reason = isDenial ? neverAdmits(rule, reference) : explainRule(rule, reference.text);
          return withStanding(rule, reason, exceptions);
        }),
        ...silenced,
        ...matching.others,
      ],
    },
  };
}

/**
 * Describes every rule in plain words, whatever the image: the output of `policy explain` without an image.
 */
export function describePolicy(policy: TrustPolicy, now: Date): Reason {
  const exceptions = standingExceptions(policy, now);
  const children = policy.rules.map((rule): Reason => {
    const reported = explainRule(rule, 'the image');
    return withStanding(
      rule,
      { ...reported, text: `${reported.text}; for ${describeScope(rule)}` },
      exceptions,
    );
  });
  const count = `${policy.rules.length} rule${policy.rules.length === 1 ? '' : 's'}`;
  return {
    counted: true,
    text: `${count}; every rule that matches an image must admit it, and an unmatched image is denied`,
    children,
  };
}

function withStanding(rule: TrustRule, reported: Reason, exceptions: readonly StandingException[]): Reason {
  const existing = exceptions.filter((one) => one.rule === rule.name).map(describeStanding);
  return existing.length === 0
    ? reported
    : { ...reported, children: [...(reported.children ?? []), ...existing] };
}

function describeScope({ images, except, namespaces, narrows }: TrustRule): string {
  return [
    images.join(', '),
    ...(except === undefined ? [] : [`except ${except.join(', ')}`]),
    ...(namespaces === undefined ? [] : [`in the namespaces ${namespaces.join(', ')}`]),
    ...(narrows === undefined ? [] : [`only narrowing what other documents admit in ${narrows.join(', ')}`]),
  ].join(' ');
}

function describeStanding({ kind, until = '', reason = '', by = '', ended }: StandingException): Reason {
  if (kind === 'report')
    return {
      counted: false,
      text: 'REPORT ONLY: images that it refuses are admitted and reported',
      code: 'TRUST_REPORT_ONLY',
    };
  if (kind === 'logs')
    return {
      counted: false,
      text: 'LOGS ONLY: images are admitted whoever signed them',
      code: 'TRUST_NOTATION_LOGGED',
    };
  const text = ended
    ? `its break-glass ended at ${until}`
    : `BREAK GLASS: images that it refuses are admitted until ${until}`;
  return { counted: false, text: `${text}: ${reason} (${by})`, code: 'TRUST_BREAK_GLASS' };
}

function explainRule(rule: TrustRule, name: string): Reason {
  if (rule.deny !== undefined) return deniedBy(rule);
  if (nobodySigns(rule)) return signedEntitlementsMissing(rule);
  const demand = rule.require === undefined ? 'allows it unverified' : 'matches and demands';
  const children = [
    ...(rule.require === undefined ? [] : [explainRequirement(rule.require, name)]),
    ...(rule.ceiling.require === 'signed' ? [explainSignedEntitlements(rule)] : []),
  ];
  return {
    counted: true,
    text: `rule ${rule.name} ${demand}; entitlements ceiling ${rule.ceiling.ceiling}`,
    children,
  };
}

function explainRequirement(requirement: Requirement, name: string): Reason {
  if ('of' in requirement) {
    const needed =
      requirement.kind === 'threshold'
        ? `${requirement.count} of these ${requirement.of.length}, by distinct signers`
        : `${requirement.kind} of`;
    return {
      counted: true,
      text: `${needed}:`,
      children: requirement.of.map((one) => explainRequirement(one, name)),
    };
  }
  const reported = explainAuthority(requirement);
  const asked = describeConstraints(requirement.constraints, name).map((text): Reason => ({
    counted: true,
    text: `and ${text}`,
  }));
  return asked.length === 0 ? reported : { ...reported, children: [...(reported.children ?? []), ...asked] };
}

function explainAuthority(requirement: Exclude<Requirement, { readonly of: unknown }>): Reason {
  if (requirement.kind === 'gpg') return { counted: true, text: describeGpg(requirement) };
  if (requirement.kind === 'tuf') return { counted: true, text: describeTuf(requirement) };
  if (requirement.kind === 'notation') return { counted: true, text: describeNotation(requirement) };
  if (requirement.kind === 'cosign-key' || requirement.kind === 'pki')
    return { counted: true, text: `a cosign signature by ${describeAuthority(requirement)}` };
  if (requirement.kind === 'sigstore')
    return { counted: true, text: `a keyless signature by ${describeAuthority(requirement)}` };
  return explainAttestation(requirement);
}

function silencedRule(rule: TrustRule): Reason {
  return {
    counted: false,
    text: `rule ${rule.name} allows it unverified, which counts only where no other rule matches`,
    code: 'TRUST_UNVERIFIED_SILENCED',
  };
}
