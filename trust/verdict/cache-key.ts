import type { DecideInput } from '../findings/types.ts';
import { canonicalJson } from '../json/canonical-json.ts';

/** Everything that the verdict depends on, except the time. */
export type VerdictQuestion = Omit<DecideInput, 'now'>;

/**
 * Returns the key under which a cache keeps the verdict on a question. Two questions with the same key have
 * the same verdict at the same time, if their dossiers are unaltered and complete. The id of the dossier
 * identifies all evidence and the digests of the image. The revision of the policy identifies the rules and
 * every byte of the keys, certificates, roots and trust stores that they refer to. The time is not
 * part of the key: a cache must check `validUntil` of the verdict at each use.
 */
export function verdictCacheKey({
  dossier,
  reference,
  namespace,
  platform,
  policy,
}: VerdictQuestion): string {
  return canonicalJson([dossier.manifestDigest, reference, namespace, platform, policy.revision, dossier.id]);
}
