import type { RequestedEntitlements } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import { codeOf, earliest } from '../findings/evaluation.ts';
import type { Answer, Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import { entitlementDemands } from './authorities.ts';
import { checkAttestation, claimedType, evaluateAttestation } from './evaluate.ts';
import { entitlementsPredicateType } from './predicate-types.ts';

/** The entitlements that the publisher has signed for an image that a rule matches. */
export interface SignedEntitlements {
  /** Every statement that counts. Each bounds the container. */
  readonly requested: readonly RequestedEntitlements[];
  /** Whether a statement exists, and why. Absent when there is none and the rule does not require one. */
  readonly evaluation?: Evaluation & {
    /**
     * The rule is not satisfied without it: the rule requires a statement, or there are more statements than
     * the limit.
     */
    readonly decides: boolean;
  };
}

/** The statements are part of the verdict, which is stored. */
const maximumStatements = 16;
const maximumProfile = 64 * 1024;

/**
 * Finds the statements of entitlements by the rule's authorities. The entitlements room reads the profiles in
 * them.
 */
export function signedEntitlements(
  rule: TrustRule,
  evidence: Evidence,
  context: EvaluationContext,
): SignedEntitlements {
  const demanded = rule.ceiling.require === 'signed';
  const lost = evidence.items.find(
    (item) => item.kind === 'attestation' && item.apart === true && item.bytes === undefined,
  );
  if (lost !== undefined && entitlementDemands(rule).length > 0)
    return { requested: [], evaluation: notAtHand(lost.blobDigest) };
  const items = evidence.items.filter((item) => claimedType(item) === entitlementsPredicateType);
  if (!demanded && items.length === 0) return { requested: [] };
  const demands = entitlementDemands(rule);
  const about = { ...evidence, items };
  const counted = new Map<string, unknown>();
  const changes: (string | undefined)[] = [];
  for (const requirement of demands) {
    for (const item of items) {
      const { checked, statement } = checkAttestation(item, {
        requirement,
        evidence,
        context,
        language: undefined,
      });
      changes.push(checked.finding.validUntil);
      if (checked.finding.counted && statement !== undefined)
        counted.set(item.blobDigest, statement.predicate);
    }
  }
  const requested = [...counted].map(([attestation, profile]) => ({ attestation, profile }));
  const parts = demands.map((requirement) => evaluateAttestation(requirement, about, context));
  const tooMuch = excess(requested);
  const answer = tooMuch === undefined ? anyAnswer(parts) : 'no';
  const found =
    requested.length === 0 ? 'no signer that the rule trusts has signed any' : `${requested.length} signed`;
  const text = `entitlements signed by the publisher${demanded ? ' (entitlements.require: signed)' : ''}: ${tooMuch ?? found}`;
  // Each statement that ends, or that begins to count, changes what the container may do.
  const validUntil = earliest([...changes, ...parts.map((part) => part.validUntil)]);
  const evaluation = {
    answer,
    ...(validUntil === undefined ? {} : { validUntil }),
    decides: demanded || tooMuch !== undefined,
    reason: {
      counted: answer === 'yes',
      text,
      code: demanded ? codeOf(answer) : 'TRUST_ENTITLEMENTS_SEEN',
      children: parts.map(({ reason }) => reason),
    },
  };
  return { requested: tooMuch === undefined ? requested : [], evaluation };
}

/**
 * The attestation may hold a statement, which would bound the container: without it there can be no verdict.
 */
function notAtHand(digest: string): NonNullable<SignedEntitlements['evaluation']> {
  const text = `the recorded attestation ${digest} is not available, and it may state which entitlements the image needs`;
  return {
    answer: 'unknown',
    decides: true,
    reason: { counted: false, text, code: 'TRUST_EVIDENCE_UNUSABLE' },
  };
}

/** Refuses entitlements beyond the limits. They are never used in part. */
function excess(requested: readonly RequestedEntitlements[]): string | undefined {
  if (requested.length > maximumStatements)
    return `there are ${requested.length} statements, and at most ${maximumStatements} are kept`;
  const large = requested.find(
    ({ profile }) => Buffer.byteLength(JSON.stringify(profile ?? null)) > maximumProfile,
  );
  return large === undefined
    ? undefined
    : `the profile in ${large.attestation} is larger than ${maximumProfile} bytes`;
}

function anyAnswer(parts: readonly Evaluation[]): Answer {
  if (parts.some(({ answer }) => answer === 'yes')) return 'yes';
  return parts.some(({ answer }) => answer === 'unknown') ? 'unknown' : 'no';
}
