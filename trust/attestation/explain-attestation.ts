import type { AttestationRequirement, TrustRule } from '../requirements/types.ts';
import type { Reason } from '../findings/types.ts';
import { entitlementDemands } from './authorities.ts';
import { describeAuthority } from '../cosign/authority.ts';

/** Describes an attestation requirement in words. */
export function explainAttestation({ predicateType, by, cel }: AttestationRequirement): Reason {
  return {
    counted: true,
    text: `an attestation of the type ${predicateType} by ${describeAuthority(by)}`,
    ...(cel.length === 0
      ? {}
      : { children: cel.map((text) => ({ counted: true, text: `for which this is true: ${text}` })) }),
  };
}

/** Describes `entitlements.require: signed` in words. */
export function explainSignedEntitlements(rule: TrustRule): Reason {
  return {
    counted: true,
    text: 'entitlements signed by the publisher, which then bound the container; any of:',
    children: entitlementDemands(rule).map(explainAttestation),
  };
}
