import { createHash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import { largest, smallest } from '../../base/lists/index.ts';
import { signerOfKeyObject } from '../keys/canonical-spki.ts';
import { signaturesOnly } from '../sigstore/verify.ts';
import { verifyBundleOnce } from '../sigstore/verify-once.ts';
import type { AuthorityResult } from '../sigstore/authority-result.ts';
import type { Bundle } from '../sigstore/bundle.ts';
import type { SignedMessage } from '../sigstore/log-body.ts';
import type { PkiRequirement } from '../requirements/types.ts';
import { readCertificate } from '../x509/certificate.ts';
import type { Certificate } from '../x509/certificate.ts';
import { findPath } from '../x509/path.ts';
import type { PathResult } from '../x509/path.ts';
import { certificatesOf } from './authorities.ts';
import { matchSubject } from './subject.ts';

const codeSigning = '1.3.6.1.5.5.7.3.3';
const anyPurpose = '2.5.29.37.0';

/**
 * Verifies that the signer whom a `pki` requirement names made a signature, with a certificate that its roots
 * issued and that is valid now (containers image library, signature/pki_cert.go). Nothing proves an earlier
 * time, so a signature expires with its certificate. Pure.
 */
export function verifyByPki(
  bundle: Bundle,
  message: SignedMessage | undefined,
  authority: PkiRequirement,
  now: Date,
): AuthorityResult {
  if (bundle.certificates.length === 0)
    return no('TRUST_CERTIFICATE_CHAIN', 'it was made with a key, and has no certificate');
  let leaf: Certificate;
  let chain: Chain;
  try {
    const [first, ...others] = bundle.certificates.map(readCertificate);
    leaf = first as Certificate;
    // cosign writes the root as the last certificate of a chain, and the library takes the last one as the
    // root: root certificates count only from the policy.
    chain = chainOf(leaf, bundle.version === 'legacy' ? others.slice(0, -1) : others, authority, now);
  } catch (error) {
    return no('TRUST_CERTIFICATE_CHAIN', `its certificate cannot be used: ${(error as Error).message}`);
  }
  // Neither the library nor cosign supports keys that are only for RSA-PSS.
  if (leaf.key.asymmetricKeyType === 'rsa-pss')
    return no('TRUST_CERTIFICATE_CHAIN', 'its certificate has a key that is only for RSA-PSS');
  if ('problem' in chain)
    return {
      ...no('TRUST_CERTIFICATE_CHAIN', `its certificate does not count: ${chain.problem}`),
      ...startOf(leaf, now),
    };
  const uses = leaf.extendedKeyUsage;
  if (uses !== undefined && !uses.includes(codeSigning) && !uses.includes(anyPurpose))
    return no('TRUST_CERTIFICATE_CHAIN', 'its certificate is not for code signing');
  const subject = matchSubject(leaf, authority);
  if ('problem' in subject) return no('TRUST_SIGSTORE_IDENTITY', subject.problem);
  const signed = verifyBundleOnce({
    bundle,
    ...(message === undefined ? {} : { message }),
    key: leaf.key,
    thresholds: signaturesOnly,
    now,
  });
  if ('problem' in signed) return signed;
  return {
    proven: { signer: subject.signer, also: [signerOfKeyObject(leaf.key)] },
    validUntil: new Date(chain.until + 1).toISOString(),
  };
}

type Chain = { readonly from: number; readonly until: number } | { readonly problem: string };

/** Chains that were found, by requirement. They are valid while every certificate in them is. */
const kept = new WeakMap<PkiRequirement, LRUCache<string, Extract<Chain, { readonly until: number }>>>();

function chainOf(
  leaf: Certificate,
  others: readonly Certificate[],
  authority: PkiRequirement,
  now: Date,
): Chain {
  // A digest: whoever signs may add a megabyte of other certificates.
  const hash = createHash('sha256');
  for (const { raw } of [leaf, ...others]) hash.update(`${raw.length}:`).update(raw);
  const key = hash.digest('base64');
  const paths = kept.get(authority) ?? new LRUCache({ max: 64 });
  kept.set(authority, paths);
  const known = paths.get(key);
  if (known !== undefined && known.from <= now.getTime() && now.getTime() <= known.until) return known;
  const trust = {
    anchors: certificatesOf(authority.roots),
    intermediates: [...certificatesOf(authority.intermediates), ...others],
  };
  const found: PathResult = findPath(leaf, trust, [now.getTime()], codeSigning);
  if ('problem' in found) return found;
  const chain = {
    from: largest(found.path.map(({ notBefore }) => notBefore)),
    until: smallest(found.path.map(({ notAfter }) => notAfter)),
  };
  paths.set(key, chain);
  return chain;
}

/** Returns when a certificate becomes valid that is not valid yet: the signature may count from then on. */
function startOf(leaf: Certificate, now: Date): { readonly validUntil?: string } {
  return leaf.notBefore > now.getTime() ? { validUntil: new Date(leaf.notBefore).toISOString() } : {};
}

function no(
  code: 'TRUST_CERTIFICATE_CHAIN' | 'TRUST_SIGSTORE_IDENTITY',
  problem: string,
): Extract<AuthorityResult, { readonly problem: string }> {
  return { code, problem };
}

/** Describes the required signer in words that follow "by". */
export function describePki({ roots, email, hostname }: PkiRequirement): string {
  const who = [
    ...(email === undefined ? [] : [email]),
    ...(hostname === undefined ? [] : [`the host ${hostname}`]),
  ].join(' and ');
  return `${who}, with a certificate of ${roots.name}`;
}
