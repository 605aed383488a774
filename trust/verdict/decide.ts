import { canonicalDigest } from '../json/canonical-json.ts';
import { signedEntitlements } from '../attestation/entitlements.ts';
import { dossierId } from '../evidence/dossier.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { deniedBy, inNamespace, matchRules, noRule, signedEntitlementsMissing } from '../policy/matching.ts';
import { incomparableDigest, normaliseReference } from '../requirements/named-images.ts';
import type { NormalisedReference } from '../requirements/named-images.ts';
import type { DecideInput, Verdict } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import { withShortTexts } from './reason-lengths.ts';
import { evaluateRequirement } from './requirement.ts';
import { earliest, isUnproven } from '../findings/evaluation.ts';
import type { Answer, Evaluation } from '../findings/evaluation.ts';
import { holdRule } from './exceptions.ts';
import type { RuleEvaluation } from './exceptions.ts';

interface Decision extends RuleEvaluation {
  readonly rules: readonly TrustRule[];
  readonly unverified: boolean;
}

/**
 * Returns the verdict on one image for one namespace. Pure, synchronous, and byte-identical for the same
 * input. Every matching rule must admit. `allow: unverified` counts only when no other rule matches. An image
 * that no rule matches is denied (design section 4). Never throws: input that cannot be read is denied.
 */
export function decide(input: DecideInput): Verdict {
  const reference = readReference(input.reference);
  const {
    answer,
    reason,
    rules,
    requested = [],
    unverified,
    unproven,
    exceptions,
    validUntil,
  } = typeof reference === 'string' ? no('TRUST_BAD_REFERENCE', reference) : judge(input, reference);
  const outcome = answer === 'yes' ? 'admit' : answer === 'no' ? 'deny' : 'undecided';
  const name = typeof reference === 'string' ? input.reference : reference.text;
  const word = { admit: 'admitted', deny: 'denied', undecided: 'undecided, which counts as denied' }[outcome];
  const verdict = {
    outcome,
    reference: name,
    digest: input.dossier.digest,
    manifestDigest: input.dossier.manifestDigest,
    namespace: input.namespace,
    platform: input.platform,
    policyRevision: input.policy.revision,
    dossierId: input.dossier.id,
    reasons: {
      counted: answer === 'yes',
      text: `${name}${input.dossier.digest === '' ? '' : ` (${input.dossier.digest})`}${inNamespace(input.namespace)} is ${word}`,
      code: { admit: 'TRUST_ADMITTED', deny: 'TRUST_DENIED', undecided: 'TRUST_UNDECIDED' }[outcome],
      children: [withShortTexts(reason)],
    },
    ceilings: answer === 'yes' ? rules.map((rule) => rule.ceiling) : [],
    ...(answer === 'yes' && requested.length > 0 ? { requestedEntitlements: requested } : {}),
    unverified: answer === 'yes' && (unverified || unproven === true || exceptions.length > 0),
    ...(answer === 'yes' && exceptions.length > 0 ? { exceptions } : {}),
    ...(validUntil === undefined ? {} : { validUntil }),
  } as const;
  return { ...verdict, decidedAt: input.now.toISOString(), id: canonicalDigest(verdict) };
}

function judge(input: DecideInput, reference: NormalisedReference): Decision {
  const { dossier, namespace, policy } = input;
  if (dossierId(dossier) !== dossier.id)
    return no(
      'TRUST_DOSSIER_ALTERED',
      'the stored evidence was altered: its digest differs from the recorded digest',
    );
  if (
    reference.digest !== undefined &&
    reference.digest !== dossier.digest &&
    reference.digest !== dossier.manifestDigest
  ) {
    return no(
      'TRUST_REFERENCE_DIGEST',
      `the reference names ${reference.digest}, but the image is ${dossier.digest}`,
    );
  }
  const digests = [dossier.digest, dossier.manifestDigest];
  const matching = matchRules(policy, reference, namespace, digests);
  if (matching.requiring.length > 0) {
    // Requirements of documents for namespaces are added to the rules that they narrow, whose ceilings also
    // apply.
    const { narrowed } = matching;
    const rules = [
      ...matching.requiring.map((rule) => holdRule(rule, evaluateRule(rule, input, reference), input.now)),
      ...narrowed.map((rule): RuleEvaluation => ({ ...allowUnverified(rule), exceptions: [] })),
    ];
    return { ...every(rules), rules: [...matching.requiring, ...narrowed], unverified: false };
  }
  if (matching.unverified.length > 0) {
    const rules = matching.unverified.map((rule): RuleEvaluation => ({
      ...allowUnverified(rule),
      exceptions: [],
    }));
    return { ...every(rules), rules: matching.unverified, unverified: true };
  }
  return {
    answer: 'no',
    reason: noRule(reference, namespace, matching),
    rules: [],
    unverified: false,
    exceptions: [],
  };
}

function evaluateRule(rule: TrustRule, input: DecideInput, reference: NormalisedReference): Evaluation {
  if (rule.deny !== undefined) {
    const { digest, manifestDigest } = input.dossier;
    const unlike = incomparableDigest(rule, reference, [digest, manifestDigest]);
    return { answer: 'no', reason: deniedBy(rule, unlike) };
  }
  // The type allows a rule without a requirement. Such a rule proves nothing, so it admits nothing.
  const requirement: Evaluation =
    rule.require === undefined
      ? {
          answer: 'no',
          reason: {
            counted: false,
            text: 'it requires nothing and allows nothing',
            code: 'TRUST_RULE_EMPTY',
          },
        }
      : evaluateRequirement(rule.require, input.dossier, { now: input.now, reference: reference.text });
  const { requested, evaluation: signed } = signedEntitlements(rule, input.dossier, {
    now: input.now,
    reference: reference.text,
  });
  const parts = signed?.decides === true ? [requirement, signed] : [requirement];
  const answer = everyAnswer(parts);
  const word = answer === 'yes' ? 'is satisfied' : answer === 'no' ? 'is not satisfied' : 'cannot be decided';
  const validUntil = earliest([requirement.validUntil, signed?.validUntil]);
  return {
    answer,
    reason: {
      counted: answer === 'yes',
      text: `rule ${rule.name} (${rule.images.join(', ')}) ${word}`,
      code:
        answer === 'yes'
          ? 'TRUST_RULE_SATISFIED'
          : answer === 'no'
            ? 'TRUST_RULE_UNSATISFIED'
            : 'TRUST_RULE_UNDECIDED',
      children: [requirement.reason, ...(signed === undefined ? [] : [signed.reason])],
    },
    ...(requested.length === 0 ? {} : { requested }),
    ...(isUnproven([requirement]) ? { unproven: true } : {}),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

function allowUnverified(rule: TrustRule): Evaluation {
  if (rule.ceiling.require === 'signed') return unsignedEntitlements(rule);
  const text = `rule ${rule.name} (${rule.images.join(', ')}) allows unverified images: nothing was proven`;
  return { answer: 'yes', reason: { counted: true, text, code: 'TRUST_UNVERIFIED_ALLOWED' } };
}

function unsignedEntitlements(rule: TrustRule): Evaluation {
  return { answer: 'no', reason: signedEntitlementsMissing(rule) };
}

/**
 * Combines rules that must all admit: one no makes the result no, even when another rule cannot be decided.
 */
function every(parts: readonly RuleEvaluation[]): RuleEvaluation {
  const answer = everyAnswer(parts);
  const single = parts[0];
  if (single !== undefined && parts.length === 1) return single;
  const yes = parts.filter((part) => part.answer === 'yes').length;
  const requested = new Map(
    parts.flatMap((part) => part.requested ?? []).map((one) => [one.attestation, one]),
  );
  const text = `${parts.length} rules match and each must admit: ${yes} ${yes === 1 ? 'does' : 'do'}`;
  const validUntil = earliest(parts.map((part) => part.validUntil));
  return {
    answer,
    reason: { counted: answer === 'yes', text, children: parts.map((part) => part.reason) },
    exceptions: parts.flatMap((part) => part.exceptions),
    ...(requested.size === 0 ? {} : { requested: [...requested.values()] }),
    ...(isUnproven(parts) ? { unproven: true } : {}),
    ...(validUntil === undefined ? {} : { validUntil }),
  };
}

function everyAnswer(parts: readonly Evaluation[]): Answer {
  if (parts.some((part) => part.answer === 'no')) return 'no';
  return parts.some((part) => part.answer === 'unknown') ? 'unknown' : 'yes';
}

function no(code: string, text: string): Decision {
  return {
    answer: 'no',
    reason: { counted: false, text, code },
    rules: [],
    unverified: false,
    exceptions: [],
  };
}

function readReference(text: string): NormalisedReference | string {
  try {
    return normaliseReference(text);
  } catch (error) {
    return `the reference cannot be read: ${reasonOf(error)}`;
  }
}
