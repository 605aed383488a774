import { derTag, expectTag } from '../x509/der.ts';
import { readStrict } from '../x509/der-strict.ts';
import type { Certificate } from '../x509/certificate.ts';

/** The signer's identity in a Fulcio certificate. */
export interface CertificateIdentity {
  /** The OIDC issuer; undefined when the certificate names none. */
  readonly issuer: string | undefined;
  /** Subject alternative names: e-mail addresses, URIs, and Fulcio's own other names. */
  readonly subjects: readonly string[];
  /** The other facts that Fulcio certifies, by the names of {@link claimOids}. */
  readonly claims: Readonly<Record<string, string>>;
}

const arc = '1.3.6.1.4.1.57264.1';
const issuerOid = `${arc}.8`;
const oldIssuerOid = `${arc}.1`;
const otherNameOid = `${arc}.7`;

/** Claims with the text itself as value: GitHub's first ones (sigstore/fulcio docs/oid-info.md). */
const rawClaims: Readonly<Record<string, string>> = {
  githubWorkflowTrigger: `${arc}.2`,
  githubWorkflowSha: `${arc}.3`,
  githubWorkflowName: `${arc}.4`,
  githubWorkflowRepository: `${arc}.5`,
  githubWorkflowRef: `${arc}.6`,
};

/** Claims with a DER UTF8String as value, for every CI issuer. */
const textClaims: Readonly<Record<string, string>> = {
  buildSignerURI: `${arc}.9`,
  buildSignerDigest: `${arc}.10`,
  runnerEnvironment: `${arc}.11`,
  sourceRepositoryURI: `${arc}.12`,
  sourceRepositoryDigest: `${arc}.13`,
  sourceRepositoryRef: `${arc}.14`,
  sourceRepositoryIdentifier: `${arc}.15`,
  sourceRepositoryOwnerURI: `${arc}.16`,
  sourceRepositoryOwnerIdentifier: `${arc}.17`,
  buildConfigURI: `${arc}.18`,
  buildConfigDigest: `${arc}.19`,
  buildTrigger: `${arc}.20`,
  runInvocationURI: `${arc}.21`,
  sourceRepositoryVisibilityAtSigning: `${arc}.22`,
};

/** The names of the claims that a policy may require. */
export const claimNames: readonly string[] = [...Object.keys(textClaims), ...Object.keys(rawClaims)];

/**
 * Reads the identity in a certificate.
 * @throws DerError, Error when it is malformed or contradicts itself
 */
export function readIdentity(certificate: Certificate): CertificateIdentity {
  const raw = rawText(certificate, oldIssuerOid);
  const issuer = utf8Text(certificate, issuerOid) ?? raw;
  if (raw !== undefined && raw !== issuer) throw new Error('its certificate names two issuers');
  const claims: Record<string, string> = {};
  for (const [oids, read] of [
    [rawClaims, rawText],
    [textClaims, utf8Text],
  ] as const) {
    for (const [name, oid] of Object.entries(oids)) {
      const value = read(certificate, oid);
      if (value !== undefined) claims[name] = value;
    }
  }
  return { issuer, subjects: readSubjects(certificate), claims };
}

function rawText(certificate: Certificate, oid: string): string | undefined {
  const value = certificate.extensions.get(oid)?.value;
  return value === undefined ? undefined : plainText(value);
}

function utf8Text(certificate: Certificate, oid: string): string | undefined {
  const value = certificate.extensions.get(oid)?.value;
  return value === undefined
    ? undefined
    : plainText(expectTag(readStrict(value), derTag.utf8String, 'a claim').content);
}

/**
 * Returns text that may be compared and displayed: UTF-8 without control characters, which could hide the
 * text after them (CVE-2009-2408 and similar).
 */
function plainText(bytes: Buffer): string {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  if (/[\p{Cc}\p{Zl}\p{Zp}]/u.test(text))
    throw new Error('its certificate names an identity with control characters');
  return text;
}

/**
 * Returns e-mail addresses, URIs, and Fulcio's otherName (RFC 5280 section 4.2.1.6). Other names identify no
 * signer.
 */
function readSubjects({ subjectAltNames: names }: Certificate): string[] {
  const others = names.others
    .filter(({ type }) => type === otherNameOid)
    .map(({ value }) => plainText(expectTag(value, derTag.utf8String, 'the other name').content));
  return [...names.emails, ...names.uris, ...others];
}

/** Longer than any identity of a real issuer; bounds the work of matching. */
const maximumSubject = 4096;

/** The identity that a policy accepts. */
export interface IdentityDemand {
  /** Compared exactly. */
  readonly issuer: string;
  /** See {@link subjectMatches}. */
  readonly subject: string;
  /** By the names of {@link claimNames}; patterns as for the subject. */
  readonly claims?: Readonly<Record<string, string>>;
}

/** Returns the subject that matches, or the reason why the identity does not match. */
export function matchIdentity(
  identity: CertificateIdentity,
  demand: IdentityDemand,
): { readonly subject: string } | { readonly problem: string } {
  if (identity.issuer === undefined) return { problem: 'its certificate names no issuer' };
  if (identity.issuer !== demand.issuer)
    return { problem: `it was made by an identity of ${shown(identity.issuer)}, not of ${demand.issuer}` };
  const subject = identity.subjects.find((name) => subjectMatches(demand.subject, name));
  if (subject === undefined)
    return {
      problem: `it was made by ${identity.subjects.map(shown).join(', ') || 'an unnamed identity'}, not by ${demand.subject}`,
    };
  for (const [name, pattern] of Object.entries(demand.claims ?? {})) {
    const value = Object.hasOwn(identity.claims, name) ? identity.claims[name] : undefined;
    if (value === undefined) return { problem: `its certificate has no claim ${name}` };
    if (!subjectMatches(pattern, value))
      return { problem: `the claim ${name} of its certificate is ${shown(value)}, not ${pattern}` };
  }
  return { subject };
}

function shown(text: string): string {
  return text.slice(0, 300);
}

/**
 * Returns whether the whole `text` matches a pattern. `**` matches any characters. `*` matches any characters
 * except `/`; at the end of the pattern it matches any characters. Inside a pattern, `*` must not match `/`:
 * a branch may be called `.github/workflows/release.yml@refs/tags/v1`, and would pass for that workflow.
 */
export function subjectMatches(pattern: string, text: string): boolean {
  if (text.length > maximumSubject) return false;
  const parts = pattern.split(/(\*+)/);
  // Parts at odd indexes are runs of stars. Each part takes one pass over the text, which records the
  // positions reached so far.
  let reached = new Uint8Array(text.length + 1);
  reached[0] = 1;
  for (const [index, part] of parts.entries()) {
    const next = new Uint8Array(text.length + 1);
    const last = index === parts.length - 2 && parts.at(-1) === '';
    const bounded = part.length === 1 && !last;
    let open = false;
    for (let at = 0; at <= text.length; at += 1) {
      if (index % 2 === 0) {
        if (reached[at] === 1 && text.startsWith(part, at)) next[at + part.length] = 1;
        continue;
      }
      open ||= reached[at] === 1;
      if (open) next[at] = 1;
      if (bounded && text[at] === '/') open = false;
    }
    reached = next;
  }
  return reached[text.length] === 1;
}
