import { entitlementDemands } from '../attestation/authorities.ts';
import type { Reason } from '../findings/types.ts';
import type { TrustPolicy, TrustRule } from '../requirements/types.ts';
import { inForce } from './break-glass.ts';
import { globMatches, patternMatches } from '../requirements/image-pattern.ts';
import {
  compiled,
  deniedDigests,
  deniesDigest,
  incomparableDigest,
  incomparableIn,
  namesAsWritten,
  normaliseReference,
  ruleNamesImage,
} from '../requirements/named-images.ts';
import type { NormalisedReference } from '../requirements/named-images.ts';

/** The rules that match an image in a namespace, and the reason why each other rule does not. */
export interface Matching {
  /** Rules that require evidence. Each of them must admit. */
  readonly requiring: readonly TrustRule[];
  /** `allow: unverified` rules; they count only when `requiring` is empty. */
  readonly unverified: readonly TrustRule[];
  /** The rules of `unverified` that admit the image, if all rules in `requiring` only narrow that. */
  readonly narrowed: readonly TrustRule[];
  readonly others: readonly Reason[];
}

/**
 * Returns the rules that match, the first part of precedence. A rule with `namespaces` never matches an
 * unknown (empty) namespace.
 * @param digests the digests of the image, if they are known: a rule that denies one of them matches. The
 * default is the digest in the reference, if it is not of sha256: no other digest can be known then
 */
export function matchRules(
  policy: TrustPolicy,
  reference: NormalisedReference,
  namespace: string,
  digests: readonly string[] = incomparableIn(reference),
): Matching {
  const requiring: TrustRule[] = [];
  const unverified: TrustRule[] = [];
  const others: Reason[] = [];
  for (const rule of policy.rules) {
    const mismatch = whyNot(rule, reference, namespace, digests);
    if (mismatch !== undefined)
      others.push({
        counted: false,
        text: `rule ${rule.name} does not match: ${mismatch}`,
        code: 'TRUST_RULE_OTHER',
      });
    else if (rule.allowUnverified) unverified.push(rule);
    else requiring.push(rule);
  }
  // Such rules add requirements to images that other rules admit. Alone they admit nothing.
  const isNarrow = (rule: TrustRule): boolean =>
    rule.narrows !== undefined || !namesAsWritten(rule, reference);
  const narrowed = requiring.length > 0 && requiring.every(isNarrow) ? unverified : [];
  const reasonOf = (rule: TrustRule): Reason =>
    onlyNarrows(rule, incomparableDigest(rule, reference, digests));
  if (requiring.every(isNarrow) && requiring.length > 0 && unverified.length === 0)
    return { requiring: [], unverified, narrowed, others: [...others, ...requiring.map(reasonOf)] };
  return { requiring, unverified, narrowed, others };
}

function onlyNarrows(rule: TrustRule, unlike: string | undefined): Reason {
  if (rule.deny !== undefined && rule.narrows === undefined) return deniedBy(rule, unlike);
  const text =
    rule.narrows === undefined
      ? `rule ${rule.name} matches another name of the registry: it only narrows what other rules admit, so write the image as the rule does`
      : `rule ${rule.name} matches, but it is in a document for namespaces: such a document only narrows what others admit`;
  return { counted: false, text, code: 'TRUST_RULE_NARROWS' };
}

function whyNot(
  rule: TrustRule,
  reference: NormalisedReference,
  namespace: string,
  digests: readonly string[],
): string | undefined {
  if (!ruleNamesImage(rule, reference) && !deniesDigest(rule, reference, digests)) {
    const unknown = digests.length === 0 ? deniedDigests(rule, reference) : [];
    if (unknown.length > 0) return `it denies the image if its digest is ${oneOf(unknown)}`;
    const excepted = (rule.except ?? []).find((pattern) => patternMatches(compiled(pattern), reference));
    return excepted === undefined
      ? `its images ${rule.images.join(', ')} do not match ${reference.registry}/${reference.repository}`
      : `it excepts ${excepted}`;
  }
  for (const namespaces of [rule.narrows, rule.namespaces]) {
    if (namespaces === undefined) continue;
    if (namespace === '')
      return `it is for the namespaces ${namespaces.join(', ')}, and the namespace is not known`;
    if (!namespaces.some((pattern) => globMatches(pattern, namespace)))
      return `it is for the namespaces ${namespaces.join(', ')}, not for "${namespace}"`;
  }
  return undefined;
}

/** The number of digests that a reason lists. */
const mostDigests = 3;

function oneOf(digests: readonly string[]): string {
  const more = digests.length - mostDigests;
  const listed = digests.slice(0, mostDigests).join(' or ');
  return more > 0 ? `${listed}, or one of ${more} more digests of the rule` : listed;
}

/**
 * Whether any evidence at all could admit the reference in the namespace. Called before anything is fetched
 * (design, security 5).
 * @returns undefined when some evidence could, else the reason for the refusal
 */
export function mayAdmit(
  policy: TrustPolicy,
  reference: string,
  namespace: string,
  now: Date,
): Reason | undefined {
  const normalised = normaliseReference(reference);
  const matching = matchRules(policy, normalised, namespace);
  const speaking = matching.requiring.length > 0 ? matching.requiring : matching.unverified;
  if (speaking.length === 0) return noRule(normalised, namespace, matching);
  const closed = speaking
    .filter(
      (rule) =>
        (rule.deny !== undefined || nobodySigns(rule)) &&
        rule.mode !== 'report' &&
        !inForce(rule.breakGlass, now),
    )
    .map((rule) => neverAdmits(rule, normalised));
  return closed.length === 0
    ? undefined
    : {
        counted: false,
        text: `no evidence can admit ${normalised.text}${inNamespace(namespace)}`,
        code: 'TRUST_NEVER_ADMITS',
        children: closed,
      };
}

/** Returns the reason of a rule that admits no image of a reference, whatever is proven. */
export function neverAdmits(rule: TrustRule, reference: NormalisedReference): Reason {
  if (rule.deny === undefined) return signedEntitlementsMissing(rule);
  return deniedBy(rule, incomparableDigest(rule, reference, incomparableIn(reference)));
}

/**
 * Returns the reason of a rule that denies, whatever is proven.
 * @param unlike the digest of the image, if it cannot be compared with those that the rule denies
 */
export function deniedBy(rule: TrustRule, unlike?: string): Reason {
  const because =
    unlike === undefined
      ? ''
      : `; the rule names sha256 digests, which cannot be compared with ${unlike.slice(0, 19)}…: name the image by its sha256 digest`;
  return {
    counted: false,
    text: `rule ${rule.name} (${rule.images.join(', ')}) denies: ${rule.deny ?? ''}${because}`,
    code: 'TRUST_RULE_DENIES',
  };
}

/** Returns the reason of `default: deny`: no rule matches. */
export function noRule(reference: NormalisedReference, namespace: string, matching: Matching): Reason {
  return {
    counted: false,
    text: `no rule of the policy matches ${reference.text}${inNamespace(namespace)}, and an image that no rule matches is denied`,
    code: 'TRUST_NO_RULE',
    children: matching.others,
  };
}

/**
 * Whether a rule requires signed entitlements (`entitlements.require: signed`) but names no authority that
 * can attest them.
 */
export function nobodySigns(rule: TrustRule): boolean {
  return rule.ceiling.require === 'signed' && entitlementDemands(rule).length === 0;
}

/** Returns the reason why such a rule never admits. */
export function signedEntitlementsMissing(rule: TrustRule): Reason {
  return {
    counted: false,
    text: `rule ${rule.name} requires entitlements signed by the publisher (entitlements.require: signed), but names no authority that can attest them: a cosign key or a sigstore identity`,
    code: 'TRUST_ENTITLEMENTS_UNSIGNED',
  };
}

/**
 * Returns the words of a message for the namespace of a pod. Without a namespace, they say that it is not
 * known.
 */
export function inNamespace(namespace: string): string {
  return namespace === '' ? ' (namespace not known)' : ` in the namespace "${namespace}"`;
}
