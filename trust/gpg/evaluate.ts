import { evaluateAuthority } from '../findings/authority.ts';
import type { Evaluation, EvaluationContext, Evidence } from '../findings/evaluation.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { GpgRequirement } from '../requirements/types.ts';
import { checkGpgSignature } from './check-signature.ts';

/**
 * Evaluates a requirement of GPG simple signing over the evidence: one signature by one of its keys must
 * count.
 */
export function evaluateGpg(
  requirement: GpgRequirement,
  evidence: Evidence,
  context: EvaluationContext,
): Evaluation {
  const items = evidence.items.filter(({ kind }) => kind === 'gpg-simple-signing');
  const checked = items.map((item) => ({
    place: describeItem(item, evidence),
    finding: checkGpgSignature(item, requirement.keys, evidence, context.now),
  }));
  return evaluateAuthority(describeGpg(requirement), checked, requirement.constraints, evidence, context);
}

/** Describes the authority in words. */
export function describeGpg({ keys }: GpgRequirement): string {
  const names = keys.map(({ fingerprint, userId }) =>
    userId === '' ? fingerprint : `${fingerprint} (${userId})`,
  );
  const shown = names.length > 4 ? [...names.slice(0, 4), `${names.length - 4} more`] : names;
  return `a GPG signature by ${names.length === 1 ? 'the key' : 'one of the keys'} ${shown.join(', ')}`;
}

function describeItem(item: EvidenceItem, evidence: Evidence): string {
  const place =
    item.attachedTo === evidence.digest && evidence.digest !== evidence.manifestDigest
      ? 'the index'
      : 'the manifest';
  return `GPG signature ${item.blobDigest || '(unread)'} of ${place}, found by ${item.foundBy}`;
}
