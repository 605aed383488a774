import { PortcullisError } from '../../base/errors/index.ts';

/**
 * Predicate type of a publisher's statement of entitlements: the predicate is a document of kind
 * EntitlementProfile.
 */
export const entitlementsPredicateType = 'https://portcullis.dev/entitlements/v1';

/**
 * Predicate type of a publisher's chunk index: the predicate names an artifact that says which part of a
 * layer's blob gives which part of its archive.
 */
export const chunkIndexPredicateType = 'https://portcullis.dev/chunk-index/v1';

/** Predicate type of a verification summary (SLSA VSA, version 1). */
export const summaryPredicateType = 'https://slsa.dev/verification_summary/v1';

/**
 * Short names of predicate types: the names of `cosign attest --type` (cmd/cosign, options/predicate.go), and
 * `vsa` and `entitlements`.
 */
const shortNames: ReadonlyMap<string, string> = new Map([
  ['slsaprovenance', 'https://slsa.dev/provenance/v0.2'],
  ['slsaprovenance02', 'https://slsa.dev/provenance/v0.2'],
  ['slsaprovenance1', 'https://slsa.dev/provenance/v1'],
  ['link', 'https://in-toto.io/Link/v1'],
  ['spdx', 'https://spdx.dev/Document'],
  ['spdxjson', 'https://spdx.dev/Document'],
  ['cyclonedx', 'https://cyclonedx.org/bom'],
  ['vuln', 'https://cosign.sigstore.dev/attestation/vuln/v1'],
  ['openvex', 'https://openvex.dev/ns'],
  ['custom', 'https://cosign.sigstore.dev/attestation/v1'],
  ['vsa', summaryPredicateType],
  ['entitlements', entitlementsPredicateType],
  ['chunk-index', chunkIndexPredicateType],
]);

/** The short names of predicate types, as options and policies accept them. */
export const predicateShortNames: readonly string[] = [...shortNames.keys()];

/**
 * Returns the URI of a predicate type given by its short name or in full. Returns undefined when it is
 * neither.
 */
export function predicateTypeOf(name: string): string | undefined {
  return shortNames.get(name) ?? (/^[a-z][a-z0-9+.-]*:\S+$/i.test(name) ? name : undefined);
}

/**
 * Returns the URI of a predicate type to sign, given by its short name or in full.
 * @throws PortcullisError `TRUST_PREDICATE_TYPE`
 */
export function requirePredicateType(name: string): string {
  const type = predicateTypeOf(name);
  if (type !== undefined) return type;
  throw new PortcullisError({
    code: 'TRUST_PREDICATE_TYPE',
    kind: 'invalid',
    attempted: 'attest image',
    on: name,
    why: 'it is not a predicate type',
    fix: `write a URI, or one of ${predicateShortNames.join(', ')}`,
  });
}
