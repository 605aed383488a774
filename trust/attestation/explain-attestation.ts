import { describeSeconds } from '../requirements/constraints.ts';
import type { AttestationRequirement, SummaryDemand, TrustRule } from '../requirements/types.ts';
import type { Reason } from '../findings/types.ts';
import { entitlementDemands } from './authorities.ts';
import { describeAuthority } from '../cosign/authority.ts';

/** Names an attestation requirement: the start of a sentence. */
export function describeAttestation({ predicateType, by, summary }: AttestationRequirement): string {
  return summary === undefined
    ? `an attestation of the type ${predicateType} by ${describeAuthority(by)}`
    : `a verification summary of ${summary.verifier} by ${describeAuthority(by)}`;
}

/** Describes an attestation requirement in words. */
export function explainAttestation(requirement: AttestationRequirement): Reason {
  const { cel, summary } = requirement;
  const conditions = [
    ...cel.map((text) => `for which this is true: ${text}`),
    ...(summary === undefined ? [] : conditionsOf(summary)),
  ];
  return {
    counted: true,
    text: describeAttestation(requirement),
    ...(conditions.length === 0 ? {} : { children: conditions.map((text) => ({ counted: true, text })) }),
  };
}

function conditionsOf({ maxAge, policy, resource, levels = [] }: SummaryDemand): readonly string[] {
  return [
    'that says PASSED',
    resource === undefined
      ? 'about the repository of the image'
      : `about a resource that matches ${resource}`,
    `that is at most ${describeSeconds(maxAge)} old`,
    ...(policy === undefined ? [] : [`by the policy sha256:${policy}`]),
    ...(levels.length === 0 ? [] : [`with the verified levels ${levels.join(', ')}`]),
  ];
}

/** Describes `entitlements.require: signed` in words. */
export function explainSignedEntitlements(rule: TrustRule): Reason {
  return {
    counted: true,
    text: 'entitlements signed by the publisher, which then bound the container; any of:',
    children: entitlementDemands(rule).map(explainAttestation),
  };
}
