import pLimit from 'p-limit';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { entitlementDemands } from '../attestation/authorities.ts';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { Dossier } from '../findings/types.ts';
import type { Requirement, TrustRule } from '../requirements/types.ts';
import type { GatherInput } from '../evidence/gather-input.ts';
import type { Evidence } from '../findings/evaluation.ts';
import { satisfied } from '../verdict/satisfied.ts';
import { verifyAhead } from '../verdict/verify-ahead.ts';
import { sealDossier } from '../evidence/dossier.ts';
import { defaultLimits } from '../evidence/limits.ts';
import type { GatherLimits } from '../evidence/limits.ts';
import { createCollection } from '../evidence/collection.ts';
import { collectFrom } from '../evidence/collect-from.ts';
import type { Collector, GatheringContext, LeafRequirement } from '../evidence/collector.ts';
import { collectorsFor } from './collectors.ts';

/**
 * Collects the bounded evidence about one image: for the digests of the index and of the platform manifest,
 * the referrers (or their fallback tag) and the older `.sig` tag of cosign. Repositories are asked in order,
 * first the mirror, then the origin. A later one is asked only when the evidence of the earlier ones does not
 * satisfy the rules that match the image. Never throws because of a registry's answer: an unreachable source
 * and a malformed item are recorded, and count against admission.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`; the signal's reason when the caller aborts
 */
export async function gather(given: GatherInput, limits: GatherLimits = defaultLimits): Promise<Dossier> {
  const input = { ...given, repositories: withFewRequests(given.repositories, limits.parallel) };
  const { digest, manifestDigest, now } = input;
  const reference = normaliseReference(input.reference);
  const rules = input.policy.rules.filter((rule) => ruleNamesImage(rule, reference));
  const collection = createCollection(limits, input.signal);
  const unsealed = { reference: reference.text, digest, manifestDigest, unreachable: [] };
  try {
    const leaves = wantedBy(rules);
    const collectors = await collectorsFor(leaves);
    const context: GatheringContext = { input, wanted: leaves, collection };
    // When no rule asks for evidence, no request is made.
    if (collectors.length > 0) {
      const outside = each(collectors, 'elsewhere', context);
      for (const repository of input.repositories) {
        await Promise.all([
          outside,
          collectFrom(repository, [...new Set([digest, manifestDigest])], collectors, context),
        ]);
        await each(collectors, 'complete', context);
        // No later repository needs the answer. Without a decider, it is asked all the same: the signatures
        // are verified then, and the decision does not block.
        if (input.decider !== undefined && repository === input.repositories.at(-1)) break;
        if (await isEnough({ ...unsealed, items: collection.items() }, input)) break;
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

/**
 * Returns repositories that are sent only so many requests at one time. A registry that is silent about one
 * image would otherwise hold all connections to it, and the other images would wait.
 */
function withFewRequests(
  repositories: readonly RegistryRepository[],
  atOnce: number,
): readonly RegistryRepository[] {
  const turn = pLimit(atOnce);
  return repositories.map((one): RegistryRepository => ({
    ...one,
    manifest: (wanted, signal) => turn(() => one.manifest(wanted, signal)),
    blobBytes: (descriptor, limit, signal) => turn(() => one.blobBytes(descriptor, limit, signal)),
    referrers: (digest, options) => turn(() => one.referrers(digest, options)),
  }));
}

/** Runs an optional step of the collectors. A step that fails is recorded as an unreachable source. */
async function each(
  collectors: readonly Collector[],
  step: 'elsewhere' | 'complete',
  context: GatheringContext,
): Promise<void> {
  const run = async (collector: Collector): Promise<void> => {
    try {
      await collector[step]?.(context);
    } catch (error) {
      context.collection.failed(`${collector.kind}, ${step}`, error);
    }
  };
  await Promise.all(collectors.map(run));
}

/** Whether the evidence suffices, so that no later repository is needed. */
async function isEnough(evidence: Evidence, { policy, now, decider }: GatherInput): Promise<boolean> {
  const context = { now, reference: evidence.reference };
  if (decider !== undefined) return decider.satisfied(policy, evidence, context);
  await verifyAhead({ dossier: evidence, reference: evidence.reference, policy, now });
  return satisfied(policy, evidence, context);
}

/**
 * Returns the evidence that the rules ask for. It includes the publisher's signed entitlements, which bound
 * the image even when no rule requires them.
 */
export function wantedBy(rules: readonly TrustRule[]): readonly LeafRequirement[] {
  return [
    ...rules.flatMap((rule) => (rule.require === undefined ? [] : leavesOf(rule.require))),
    ...rules.flatMap(entitlementDemands),
  ];
}

function leavesOf(requirement: Requirement): readonly LeafRequirement[] {
  return 'of' in requirement ? requirement.of.flatMap(leavesOf) : [requirement];
}
