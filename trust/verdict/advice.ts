import type { Reason, Verdict } from '../findings/types.ts';

/**
 * The advice about a refusal, by the codes of its reasons. The first row with a code that occurs applies: a
 * signature that almost counted says more than one that an unknown signer made.
 */
const rows: readonly (readonly [codes: readonly string[], advice: string])[] = [
  [['TRUST_BAD_REFERENCE', 'TRUST_REFERENCE_DIGEST'], 'correct the reference of the image'],
  [['TRUST_RULE_DENIES'], 'use another image, or change the rule that denies this one'],
  [['TRUST_RULE_EMPTY'], 'give the rule a requirement'],
  [
    ['TRUST_DOSSIER_ALTERED', 'TRUST_EVIDENCE_ALTERED'],
    'find out who changed the evidence: check the disk, the registry and any proxy before it',
  ],
  [
    ['TRUST_KEY_REVOKED', 'TRUST_NOTATION_REVOCATION'],
    'sign the image again with a key that is not revoked, and name that key in the rule',
  ],
  [
    ['TRUST_SIGNATURE_EXPIRED', 'TRUST_SIGNATURE_TOO_OLD', 'TRUST_NOTATION_EXPIRY'],
    'sign the image again: the signature is no longer valid',
  ],
  [
    ['TRUST_KEY_EXPIRED', 'TRUST_KEY_NOT_YET'],
    'sign the image with a key that is valid now, and name that key in the rule',
  ],
  [
    ['TRUST_NOTATION_TIMESTAMP', 'TRUST_SIGSTORE_TIME', 'TRUST_TIME_UNPROVEN', 'TRUST_TIME_FUTURE'],
    'sign the image again with a time stamp, and check the clocks',
  ],
  [
    ['TRUST_TUF_ROLLBACK', 'TRUST_TUF_EXPIRED', 'TRUST_TUF_MIX_AND_MATCH', 'TRUST_TUF_STALE'],
    'ask the owner of the trust service: it serves old metadata; then try again',
  ],
  [
    ['TRUST_TUF_OTHER_DIGEST', 'TRUST_TUF_NO_TARGET'],
    'pull the digest that the owner signed, or publish this one: portcullis trust add',
  ],
  [['TRUST_TUF_UNAUTHORIZED'], 'give credentials that may read the metadata of the image'],
  [
    ['TRUST_SIGNATURE_OTHER_DIGEST', 'TRUST_SIGNATURE_OTHER_PART'],
    'sign this digest: the signature is for another one',
  ],
  [
    ['TRUST_SIGNATURE_WRONG', 'TRUST_SIGNATURE_MALFORMED', 'TRUST_SIGNATURE_WEAK'],
    'sign the image again: the signature cannot count',
  ],
  [
    ['TRUST_IDENTITY_OTHER', 'TRUST_IDENTITY_UNPROVEN'],
    'sign the image under the name that the rule requires (signedIdentity)',
  ],
  [['TRUST_ANNOTATION_UNMET'], 'sign the image with the annotations that the rule requires'],
  [
    [
      'TRUST_SIGSTORE_IDENTITY',
      'TRUST_NOTATION_AUTHENTICITY',
      'TRUST_CERTIFICATE_CHAIN',
      'TRUST_SIGSTORE_CERTIFICATE',
    ],
    'let an identity that the rule names sign the image, or name this signer in the rule',
  ],
  [
    [
      'TRUST_CEL_FALSE',
      'TRUST_CEL_FAILED',
      'TRUST_ATTESTATION_OTHER_TYPE',
      'TRUST_PREDICATE_TYPE',
      'TRUST_PREDICATE_UNREADABLE',
    ],
    'attest what the rule requires: portcullis attest',
  ],
  [
    ['TRUST_VSA_FAILED'],
    'see in the reports of the verifier why it refused the image, and fix the cause: portcullis admit --vsa',
  ],
  [
    [
      'TRUST_VSA_TOO_OLD',
      'TRUST_VSA_OTHER_POLICY',
      'TRUST_VSA_OTHER_RESOURCE',
      'TRUST_VSA_OTHER_VERIFIER',
      'TRUST_VSA_LEVEL',
      'TRUST_VSA_MALFORMED',
      'TRUST_VSA_FUTURE',
    ],
    'let the verifier that the rule names verify the image again: portcullis admit --vsa',
  ],
  [
    ['TRUST_ENTITLEMENTS_UNSIGNED'],
    'sign the entitlements of the image: portcullis attest --type entitlements',
  ],
  [
    ['TRUST_SIGNATURE_OTHER_KEY'],
    'sign the image with a key that the rule names, or name the key that signed it in the rule',
  ],
];

const noSignature =
  'sign the image as the rule requires: portcullis sign, portcullis attest for attestations, portcullis admit --vsa for verification summaries';

/**
 * Returns what to do about a verdict that does not admit, by the codes of its reasons. Rules that do not
 * match the image do not count, unless no rule matches.
 */
export function adviceOf({ outcome, reference, namespace, reasons }: Verdict): string {
  const codes = codesOf(reasons);
  if (codes.has('TRUST_NO_RULE')) {
    // The text is a command to copy: a namespace that a shell would read otherwise is left out.
    const where = /^[a-z0-9][a-z0-9.-]{0,252}$/u.test(namespace) ? ` --namespace ${namespace}` : '';
    return `add a rule whose images and namespaces match, or use an image that a rule matches; portcullis policy explain ${reference} --policy FILE${where} says why each rule does not match`;
  }
  if (outcome === 'undecided') {
    if (codes.has('TRUST_TUF_UNAUTHORIZED'))
      return 'give credentials that may read the evidence, then try again';
    return codes.has('TRUST_SOURCE_IN_PART') && !codes.has('TRUST_SOURCE_UNREACHABLE')
      ? 'remove signatures and attestations of the image that nobody needs: there are too many to read them all'
      : 'make the sources of evidence reachable and try again';
  }
  return rows.find(([those]) => those.some((code) => codes.has(code)))?.[1] ?? noSignature;
}

/**
 * Returns the one code that says most about a verdict that does not admit: the code that its advice is about,
 * or that of a missing proof.
 */
export function decisiveCode({ outcome, reasons }: Verdict): string {
  const codes = codesOf(reasons);
  if (outcome === 'admit') return 'TRUST_ADMITTED';
  if (codes.has('TRUST_NO_RULE')) return 'TRUST_NO_RULE';
  if (outcome === 'undecided')
    return codes.has('TRUST_TUF_UNAUTHORIZED') ? 'TRUST_TUF_UNAUTHORIZED' : 'TRUST_UNDECIDED';
  for (const [those] of rows) {
    const found = those.find((code) => codes.has(code));
    if (found !== undefined) return found;
  }
  return 'TRUST_REQUIREMENT_UNMET';
}

/**
 * Reports whether a verdict is undecided because a source of evidence gave no answer. Evidence that was read
 * only in part, or a certificate authority that does not answer, says nothing about the registry.
 */
export function lacksAnswer({ outcome, reasons }: Verdict): boolean {
  return outcome === 'undecided' && codesOf(reasons).has('TRUST_SOURCE_UNREACHABLE');
}

/**
 * Returns the codes of the reasons that did not count, without rules that do not match and what is below
 * reasons that counted.
 */
function codesOf(reason: Reason, found: Set<string> = new Set()): ReadonlySet<string> {
  if (reason.counted || reason.code === 'TRUST_RULE_OTHER') return found;
  if (reason.code !== undefined) found.add(reason.code);
  for (const child of reason.children ?? []) codesOf(child, found);
  return found;
}
