import { isSignedBy, keyUsageBit } from './certificate.ts';
import type { Certificate } from './certificate.ts';
import { constraintBudget, nameConstraintFlaw } from './name-constraints.ts';
import type { ConstraintBudget } from './name-constraints.ts';

/** The certificates that a path may use. */
export interface PathAnchors {
  /** Trusted without further checks. */
  readonly anchors: readonly Certificate[];
  /** Not trusted, but allowed as intermediates. */
  readonly intermediates: readonly Certificate[];
}

const noIssuer = 'no trusted authority has issued the certificate';

/** More than any authority has between its root and its leaves; bounds the search. */
const maximumPathLength = 6;

/** A path from a leaf to an anchor, or the reason why there is none. */
export type PathResult = { readonly path: readonly Certificate[] } | { readonly problem: string };

/**
 * Finds a path whose certificates are all valid at each of the times, each issued by the next, ending in an
 * anchor (RFC 5280 section 6, without certificate policies: a certificate that marks those critical is
 * refused on reading). `times` in milliseconds since 1970; an empty list checks no time. `purpose`: an
 * extended key usage (OID). An issuer on the path that lists any usage must list this one, as in browsers and
 * Go's crypto/x509: an authority for one use may not issue for another.
 */
export function findPath(
  leaf: Certificate,
  { anchors, intermediates }: PathAnchors,
  times: readonly number[],
  purpose?: string,
): PathResult {
  const late = notValidAt(leaf, times);
  if (late !== undefined) return { problem: `the certificate ${late}` };
  if (anchors.some((anchor) => anchor.raw.equals(leaf.raw))) return { path: [leaf] };
  let problem = noIssuer;
  // Anyone may supply certificates that look like issuers. Only this many are tried, because each costs a
  // verification.
  let budget = 12;
  const names = constraintBudget();
  const search = (
    path: readonly Certificate[],
    pool: readonly Certificate[],
  ): readonly Certificate[] | undefined => {
    const current = path.at(-1) as Certificate;
    for (const [candidates, trusted] of [
      [anchors, true],
      [pool, false],
    ] as const) {
      for (const issuer of candidates) {
        if (!current.issuer.equals(issuer.subject) || isOnPath(path, issuer)) continue;
        if ((budget -= 1) < 0) return undefined;
        // Authorities that have one name but different keys are usual while a key is replaced. Only a flaw of
        // the one that has signed explains why there is no path.
        if (!signedBy(current, issuer)) {
          if (problem === noIssuer) problem = 'the signature of the authority that it names does not match';
          continue;
        }
        const flaw = issuerFlaw(issuer, path, {
          trusted,
          times,
          names,
          ...(purpose === undefined ? {} : { purpose }),
        });
        if (flaw !== undefined) {
          problem = `an issuing certificate ${flaw}`;
          continue;
        }
        if (trusted) return [...path, issuer];
        if (path.length >= maximumPathLength) continue;
        const found = search(
          [...path, issuer],
          pool.filter((other) => other !== issuer),
        );
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };
  const path = search([leaf], intermediates);
  return path === undefined ? { problem } : { path };
}

/** Whether a path has this authority already. Authorities that certify each other would use up the budget. */
function isOnPath(path: readonly Certificate[], { subject, keyBits }: Certificate): boolean {
  return path.some((other) => other.subject.equals(subject) && other.keyBits.equals(keyBits));
}

/**
 * Checks a given path, the leaf first and the anchor last, by the rules of {@link findPath}, except for the
 * times of validity. Returns undefined when it is valid.
 * @returns the faulty certificate, and a clause about it, such as `is not of an authority`
 */
export function pathFlaw(
  path: readonly Certificate[],
  purpose?: string,
): { readonly certificate: Certificate; readonly flaw: string } | undefined {
  const names = constraintBudget();
  for (const [index, certificate] of path.entries()) {
    const below = path.slice(0, index);
    const last = below.at(-1);
    const trusted = index === path.length - 1;
    if (last === undefined) continue;
    const checks = { trusted, times: [], names, ...(purpose === undefined ? {} : { purpose }) };
    const flaw =
      issuerFlaw(certificate, below, checks) ??
      (signedBy(last, certificate) ? undefined : 'did not issue the certificate before it');
    if (flaw !== undefined) return { certificate, flaw };
  }
  return undefined;
}

/** Caches which certificate signed which, as long as both stay in memory: the signature never changes. */
const kept = new WeakMap<Certificate, WeakMap<Certificate, boolean>>();

function signedBy(certificate: Certificate, issuer: Certificate): boolean {
  const known = kept.get(certificate)?.get(issuer);
  if (known !== undefined) return known;
  const answer = isSignedBy(certificate, issuer);
  const answers = kept.get(certificate) ?? new WeakMap<Certificate, boolean>();
  kept.set(certificate, answers.set(issuer, answer));
  return answer;
}

const anyPurpose = '2.5.29.37.0';

interface IssuerRules {
  readonly trusted: boolean;
  readonly times: readonly number[];
  readonly purpose?: string;
  readonly names: ConstraintBudget;
}

/**
 * Returns why `issuer` may not issue the certificates below it; undefined when it may.
 * @param below the certificates under the issuer, the leaf first
 */
function issuerFlaw(
  issuer: Certificate,
  below: readonly Certificate[],
  { trusted, times, purpose, names }: IssuerRules,
): string | undefined {
  const uses = issuer.extendedKeyUsage;
  if (purpose !== undefined && uses !== undefined && !uses.includes(purpose) && !uses.includes(anyPurpose))
    return 'belongs to an authority for another use';
  // Before version 3, a certificate cannot state that it is an authority. Trusting it as a root states that
  // (RFC 5280 6.1.4 (k) leaves this to the verifier).
  if (!issuer.isAuthority && !(trusted && issuer.version < 3)) return 'does not belong to an authority';
  if (issuer.keyUsage !== undefined && (issuer.keyUsage & keyUsageBit.keyCertSign) === 0)
    return 'may not sign certificates';
  // RFC 5280 6.1.4 (l): a certificate that its own name has issued (a change of key) does not count.
  const authorities = below.slice(1).filter(({ issuer: by, subject }) => !by.equals(subject)).length;
  if (issuer.pathLength !== undefined && authorities > issuer.pathLength)
    return 'allows no path of this length';
  return notValidAt(issuer, times) ?? nameConstraintFlaw(issuer, below, names);
}

function notValidAt(certificate: Certificate, times: readonly number[]): string | undefined {
  const outside = times.find((time) => time < certificate.notBefore || time > certificate.notAfter);
  if (outside === undefined) return undefined;
  const from = new Date(certificate.notBefore).toISOString();
  return `is valid from ${from} to ${new Date(certificate.notAfter).toISOString()}, and it was used at ${new Date(outside).toISOString()}`;
}
