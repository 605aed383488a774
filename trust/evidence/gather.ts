import { entitlementDemands } from '../attestation/authorities.ts';
import { signedEntitlements } from '../attestation/entitlements.ts';
import { normaliseReference, ruleNamesImage } from '../policy/matching.ts';
import type { Dossier, EvidenceItem, GatherInput, Requirement, TrustRule } from '../types.ts';
import { evaluateRequirement } from '../verdict/requirement.ts';
import { verifyAhead } from '../verdict/verify-ahead.ts';
import { sealDossier } from './dossier.ts';
import { defaultLimits } from './limits.ts';
import type { GatherLimits } from './limits.ts';
import { createCollection } from './collection.ts';
import { collectFrom } from './collect-from.ts';
import type { Collector, GatheringContext, LeafRequirement } from './collector.ts';
import { collectorsFor } from './collectors.ts';

/**
 * Collects the bounded evidence about one image: at the index's digest and the platform manifest's, the referrers (or their
 * fallback tag) and cosign's older `.sig` tag. Repositories are asked in order, mirror then origin; a later one only when what the
 * earlier ones hold does not satisfy the rules that name the image. Never throws for what a registry says: an unreachable source
 * and a malformed item are recorded, and speak against admission.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`; the signal's reason when the caller aborts
 */
export async function gather(input: GatherInput, limits: GatherLimits = defaultLimits): Promise<Dossier> {
  const { digest, manifestDigest, now } = input;
  const reference = normaliseReference(input.reference);
  const rules = input.policy.rules.filter((rule) => ruleNamesImage(rule, reference));
  const wanted = rules.flatMap((rule) => (rule.require === undefined ? [] : [rule.require]));
  const collection = createCollection(limits, input.signal);
  const unsealed = { reference: reference.text, digest, manifestDigest, unreachable: [] };
  try {
    // What a publisher has signed that the image needs bounds it, also where no rule asks.
    const leaves = [...wanted.flatMap(leavesOf), ...rules.flatMap(entitlementDemands)];
    const collectors = await collectorsFor(leaves);
    const context: GatheringContext = { input, wanted: leaves, collection };
    // No rule asks for evidence: no question, no round trip.
    if (collectors.length > 0) {
      const outside = each(collectors, 'elsewhere', context);
      for (const repository of input.repositories) {
        await Promise.all([outside, collectFrom(repository, [...new Set([digest, manifestDigest])], collectors, context)]);
        await each(collectors, 'complete', context);
        await verifyAhead({ dossier: { ...unsealed, items: collection.items() }, reference: reference.text, policy: input.policy, now });
        if (satisfied(rules, collection.items(), input)) break;
      }
      await outside;
    }
    input.signal?.throwIfAborted();
  } finally {
    collection.close();
  }
  return sealDossier({
    reference: reference.text,
    digest,
    manifestDigest,
    items: collection.items(),
    unreachable: collection.unreachable(),
    gatheredAt: now.toISOString(),
  });
}

/** A step that some collectors have. One that fails is a source that could not be asked. */
async function each(collectors: readonly Collector[], step: 'elsewhere' | 'complete', context: GatheringContext): Promise<void> {
  const run = async (collector: Collector): Promise<void> => {
    try {
      await collector[step]?.(context);
    } catch (error) {
      context.collection.failed(`${collector.kind}, ${step}`, error);
    }
  };
  await Promise.all(collectors.map(run));
}

function satisfied(rules: readonly TrustRule[], items: readonly EvidenceItem[], input: GatherInput): boolean {
  const evidence = { reference: input.reference, digest: input.digest, manifestDigest: input.manifestDigest, items, unreachable: [] };
  const context = { now: input.now, reference: input.reference };
  return rules.every((rule) => {
    if (rule.require !== undefined && evaluateRequirement(rule.require, evidence, context).answer !== 'yes') return false;
    return rule.ceiling.require !== 'signed' || signedEntitlements(rule, evidence, context).evaluation?.answer === 'yes';
  });
}

function leavesOf(requirement: Requirement): readonly LeafRequirement[] {
  return 'of' in requirement ? requirement.of.flatMap(leavesOf) : [requirement];
}
