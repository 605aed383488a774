import type { RegistryRepository } from '../../base/distribution/index.ts';
import { normaliseReference, ruleNamesImage } from '../policy/matching.ts';
import type { Dossier, EvidenceItem, GatherInput, Requirement } from '../types.ts';
import { evaluateRequirement } from '../verdict/requirement.ts';
import { sealDossier } from './dossier.ts';
import { defaultLimits } from './limits.ts';
import type { GatherLimits } from './limits.ts';
import { createCollection } from './collection.ts';
import { collectBundles, collectSimpleSigning } from './cosign-sources.ts';

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
  const wanted = input.policy.rules
    .filter((rule) => ruleNamesImage(rule, reference))
    .flatMap((rule) => (rule.require === undefined ? [] : [rule.require]));
  const collection = createCollection(limits, input.signal);
  try {
    // No rule asks for a signature: no question, no round trip.
    if (wanted.some(usesCosign)) {
      for (const repository of input.repositories) {
        await collectFrom(repository, [...new Set([digest, manifestDigest])], collection);
        if (satisfied(wanted, collection.items(), input)) break;
      }
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

async function collectFrom(
  repository: RegistryRepository,
  digests: readonly string[],
  collection: ReturnType<typeof createCollection>,
): Promise<void> {
  await Promise.all(
    digests.flatMap((digest) => [collectBundles(repository, digest, collection), collectSimpleSigning(repository, digest, collection)]),
  );
}

function satisfied(wanted: readonly Requirement[], items: readonly EvidenceItem[], input: GatherInput): boolean {
  const evidence = { reference: input.reference, digest: input.digest, manifestDigest: input.manifestDigest, items, unreachable: [] };
  return wanted.every((requirement) => evaluateRequirement(requirement, evidence, { now: input.now }).answer === 'yes');
}

function usesCosign(requirement: Requirement): boolean {
  return requirement.kind === 'cosign-key' || requirement.of.some(usesCosign);
}
