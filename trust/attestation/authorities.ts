import type { AttestationRequirement, Requirement, TrustRule } from '../requirements/types.ts';
import { entitlementsPredicateType } from './predicate-types.ts';

/** A statement of the entitlements of an image takes some hundred bytes. */
const largestStatement = 1024 * 1024;

/**
 * Returns the requirements for the publisher's statement of entitlements for images of this rule: one for
 * each authority of the rule that can attest (keys and sigstore identities, of signatures and attestations
 * alike). A statement of any one of them counts, because it can only narrow: the image itself must still be
 * signed as the rule says.
 */
export function entitlementDemands(
  rule: Pick<TrustRule, 'require' | 'ceiling'>,
): readonly AttestationRequirement[] {
  const authorities = rule.require === undefined ? [] : attesting(rule.require).map(withoutConstraints);
  const distinct = new Map(authorities.map((by) => [JSON.stringify(by), by]));
  const optional = rule.ceiling.require === 'signed' ? {} : ({ optional: true } as const);
  return [...distinct.values()].map((by) => ({
    kind: 'attestation',
    predicateType: entitlementsPredicateType,
    by,
    cel: [],
    maxSize: largestStatement,
    ...optional,
  }));
}

/** Returns the authorities of a requirement that can attest: keys and sigstore identities. */
export function attesting(requirement: Requirement): readonly AttestationRequirement['by'][] {
  if ('of' in requirement) return requirement.of.flatMap(attesting);
  if (requirement.kind === 'attestation') return [requirement.by];
  return requirement.kind === 'cosign-key' || requirement.kind === 'sigstore' || requirement.kind === 'pki'
    ? [requirement]
    : [];
}

/**
 * Removes the constraints that a rule sets for signatures of the image. They do not apply to attestations,
 * which carry other annotations and no name.
 */
export function withoutConstraints(by: AttestationRequirement['by']): AttestationRequirement['by'] {
  const { constraints: _ofSignatures, ...bare } = by;
  return bare;
}
