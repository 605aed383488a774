import type { AuthorityResult } from '../sigstore/authority-result.ts';
import type { SignatureFinding, Subject } from '../findings/signature-finding.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { describePki, verifyByPki } from '../pki/verify.ts';
import { describeKey, keyObjectOf, signerOfKey } from '../keys/public-key.ts';
import type { Requirement } from '../requirements/types.ts';
import type { Bundle } from '../sigstore/bundle.ts';
import { matchIdentity } from '../sigstore/identity.ts';
import type { SignedMessage } from '../sigstore/log-body.ts';
import { trustedRootOf } from '../sigstore/policy-root.ts';
import { verifyBundleOnce } from '../sigstore/verify-once.ts';
import { signaturesOnly } from '../sigstore/verify.ts';

/**
 * The signer that a requirement accepts: a key, with or without a transparency log, an identity, or a
 * certificate of a private authority.
 */
export type SigstoreAuthority = Extract<Requirement, { readonly kind: 'cosign-key' | 'sigstore' | 'pki' }>;

/** Checks the bytes of an item for one authority. They have the digest of the item. */
export type SignatureCheck = (
  item: EvidenceItem,
  bytes: Uint8Array,
  authority: SigstoreAuthority,
  subject: Subject,
  now: Date,
) => SignatureFinding;

/** Verifies a bundle for one authority. Pure; never throws. */
export function verifyForAuthority(
  bundle: Bundle,
  message: SignedMessage | undefined,
  authority: SigstoreAuthority,
  now: Date,
): AuthorityResult {
  if (authority.kind === 'pki') return verifyByPki(bundle, message, authority, now);
  const proof = authority.kind === 'sigstore' ? authority.proof : authority.log;
  let root;
  try {
    root = proof === undefined ? undefined : trustedRootOf(proof.root);
  } catch (error) {
    return {
      code: 'TRUST_SIGSTORE_CERTIFICATE',
      problem: `the trusted root cannot be read: ${(error as Error).message}`,
    };
  }
  const verified = verifyBundleOnce({
    bundle,
    ...(message === undefined ? {} : { message }),
    ...(authority.kind === 'cosign-key' ? { key: keyObjectOf(authority.key) } : {}),
    ...(root === undefined ? {} : { root }),
    thresholds: proof ?? signaturesOnly,
    now,
  });
  if ('problem' in verified) {
    const { code, problem, countsFrom } = verified;
    return { code, problem, ...untilOf(countsFrom) };
  }
  const { signedAt, identity, trustedUntil } = verified;
  const when =
    signedAt === undefined
      ? {}
      : { signedAt: { time: new Date(signedAt.time).toISOString(), provenBy: signedAt.provenBy } };
  if (authority.kind === 'cosign-key')
    return { proven: { signer: signerOfKey(authority.key), ...when }, ...untilOf(trustedUntil) };
  if (identity === undefined)
    return { code: 'TRUST_SIGSTORE_IDENTITY', problem: 'it was not made by a named identity' };
  const match = matchIdentity(identity, authority.identity);
  if ('problem' in match) return { code: 'TRUST_SIGSTORE_IDENTITY', problem: match.problem };
  // A certificate may name several subjects, and belongs to one signer.
  const [signer = '', ...also] = [
    match.subject,
    ...identity.subjects.filter((one) => one !== match.subject),
  ].map((subject) => `sigstore ${authority.identity.issuer} ${subject}`);
  return { proven: { signer, ...(also.length === 0 ? {} : { also }), ...when } };
}

/** @param time milliseconds since 1970 */
function untilOf(time: number | undefined): { readonly validUntil?: string } {
  return time === undefined ? {} : { validUntil: new Date(time).toISOString() };
}

/** Describes the authority in words, to follow "by". */
export function describeAuthority(authority: SigstoreAuthority): string {
  if (authority.kind === 'pki') return describePki(authority);
  if (authority.kind === 'cosign-key') {
    return `the key ${describeKey(authority.key)}${authority.log === undefined ? '' : `, with an entry in a transparency log of ${authority.log.root.name}`}`;
  }
  const { issuer, subject, claims } = authority.identity;
  const list = Object.entries(claims ?? {}).map(([name, pattern]) => `${name} ${pattern}`);
  return `${subject} of ${issuer}${list.length === 0 ? '' : ` (${list.join(', ')})`}, by ${authority.proof.root.name}`;
}
