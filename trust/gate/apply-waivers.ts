import { signedEntitlements } from '../attestation/entitlements.ts';
import { summaryPredicateType } from '../attestation/predicate-types.ts';
import type { Dossier, Reason } from '../findings/types.ts';
import type { EvaluationContext } from '../findings/evaluation.ts';
import { matchRules } from '../policy/matching.ts';
import { globMatches, patternMatches } from '../requirements/image-pattern.ts';
import { compiled } from '../requirements/named-images.ts';
import type { NormalisedReference } from '../requirements/named-images.ts';
import type { Requirement, TrustPolicy, TrustRule } from '../requirements/types.ts';
import { distinctSigners } from '../verdict/distinct-signers.ts';
import { holdRule } from '../verdict/exceptions.ts';
import { oneNameEach } from '../verdict/one-name-each.ts';
import { evaluateRequirement } from '../verdict/requirement.ts';
import type { AppliedWaiver } from './types.ts';
import type { Waiver } from './waivers.ts';

/** A denied image, with everything that the denial was decided from. */
export interface Denied {
  readonly reference: NormalisedReference;
  readonly namespace: string;
  readonly dossier: Dossier;
  readonly policy: TrustPolicy;
  readonly now: Date;
}

/**
 * Returns the waivers that let a denied image pass together: with the requirements that they waive, every
 * rule that refuses the image is met. Empty if they do not suffice. A rule that says `deny` and an image that
 * no rule matches are never waived, and a requirement that cannot be decided is not met by a waiver. Pure.
 */
export function waiversFor(denied: Denied, waivers: readonly Waiver[]): readonly AppliedWaiver[] {
  const { policy, reference, namespace, dossier } = denied;
  const applicable = waivers.filter((waiver) => isFor(waiver, denied));
  const { requiring, narrowed } = matchRules(policy, reference, namespace, [
    dossier.digest,
    dossier.manifestDigest,
  ]);
  if (applicable.length === 0 || requiring.length === 0) return [];
  // Rules that only narrow are added to rules that allow, which may refuse an image too (decide).
  if (narrowed.some(asksForSigned)) return [];
  const used: Used = new Map();
  if (!requiring.every((rule) => passes(rule, applicable, denied, used))) return [];
  return [...used].map(([{ id, owner, reason, expires, place }, codes]) => ({
    ...{ id, owner, reason, expires, place },
    codes: [...codes].sort(),
  }));
}

function asksForSigned({ ceiling }: TrustRule): boolean {
  return ceiling.require === 'signed';
}

/** The codes that each waiver let pass. */
type Used = Map<Waiver, Set<string>>;

function isFor(waiver: Waiver, { reference, namespace, dossier }: Denied): boolean {
  const { images, digest, namespaces } = waiver;
  const own = [dossier.digest, dossier.manifestDigest];
  if (reference.digest !== undefined && !own.includes(reference.digest)) return false;
  if (!images.some((pattern) => patternMatches(compiled(pattern), reference))) return false;
  if (digest !== undefined && !own.includes(digest)) return false;
  return namespaces === undefined || namespaces.some((pattern) => globMatches(pattern, namespace));
}

function passes(rule: TrustRule, waivers: readonly Waiver[], denied: Denied, used: Used): boolean {
  if (rule.deny !== undefined || rule.require === undefined) return false;
  const context = { now: denied.now, reference: denied.reference.text };
  const evaluation = evaluateRequirement(rule.require, denied.dossier, context);
  const signed = signedEntitlements(rule, denied.dossier, context).evaluation;
  if (signed?.decides === true && signed.answer !== 'yes') return false;
  if (holdRule(rule, evaluation, denied.now).answer === 'yes') return true;
  return isMet(rule.require, waivers, denied.dossier, context, used);
}

/** Whether a requirement is met when the refusals that the waivers name do not count. */
function isMet(
  requirement: Requirement,
  waivers: readonly Waiver[],
  dossier: Dossier,
  context: EvaluationContext,
  used: Used,
): boolean {
  if ('of' in requirement) {
    const met = requirement.of.filter((part) => isMet(part, waivers, dossier, context, used));
    if (requirement.kind === 'threshold')
      return distinctParts(met, dossier, context) >= Math.max(1, requirement.count);
    return met.length >= Math.max(1, requirement.kind === 'any' ? 1 : requirement.of.length);
  }
  const { answer, reason } = evaluateRequirement(requirement, dossier, context);
  if (answer !== 'no') return answer === 'yes';
  const names = namesOf(requirement);
  const refusals = refusalsOf(reason);
  for (const waiver of waivers) {
    if (waiver.requirement !== undefined && !names.includes(waiver.requirement)) continue;
    const code = refusals.find((each) => waiver.codes.includes(each));
    if (code === undefined) continue;
    used.set(waiver, (used.get(waiver) ?? new Set()).add(code));
    return true;
  }
  return false;
}

/**
 * Counts parts of a threshold as the verdict does: each signer counts once. A part that only a waiver meets
 * has no signer, and counts for itself.
 */
function distinctParts(met: readonly Requirement[], dossier: Dossier, context: EvaluationContext): number {
  const parts = met.map((part) => {
    const { answer, signers = [] } = evaluateRequirement(part, dossier, context);
    return { isWaived: answer !== 'yes' && signers.length === 0, signers };
  });
  const waived = parts.filter(({ isWaived }) => isWaived).length;
  return waived + distinctSigners(oneNameEach(parts.map(({ signers }) => signers)));
}

function namesOf(requirement: Exclude<Requirement, { readonly of: unknown }>): readonly string[] {
  if (requirement.kind === 'cosign-key') return ['cosign'];
  if (requirement.kind !== 'attestation') return [requirement.kind];
  const { predicateType, summary } = requirement;
  return predicateType === summaryPredicateType && summary !== undefined
    ? ['vsa', predicateType]
    : [predicateType];
}

/**
 * The codes of what was found for a requirement; that of the requirement itself if nothing was found.
 * Attestations of other types are about something else.
 */
function refusalsOf({ code = '', children = [] }: Reason): readonly string[] {
  const found = children.filter(
    ({ counted, code: each }) => !counted && each !== 'TRUST_ATTESTATION_OTHER_TYPE',
  );
  return found.length === 0
    ? [code]
    : found.flatMap((child) => (child.code === undefined ? [] : [child.code]));
}
