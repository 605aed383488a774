import { setImmediate as giveWay } from 'node:timers/promises';
import { normaliseReference, ruleNamesImage } from '../requirements/named-images.ts';
import type { DecideInput, EvidenceItem } from '../findings/types.ts';
import type { TrustRule } from '../requirements/types.ts';
import type { Evidence } from '../findings/evaluation.ts';
import { evaluateRequirement } from './requirement.ts';

/** Types of evidence whose verification is expensive and is remembered (`sigstore/verify-once.ts`). */
const remembered: readonly EvidenceItem['kind'][] = [
  'sigstore-bundle',
  'cosign-simple-signing',
  'attestation',
];
/** Fewer items than this together cost less than the time budget of the main thread. */
const few = 4;

/**
 * Verifies the signatures of a dossier one at a time and yields in between, so that the synchronous `decide`
 * finds the expensive results already cached. A registry that serves dozens of signatures therefore does not
 * block the thread. Decides nothing, and changes no decision.
 */
export async function verifyAhead(
  input: Pick<DecideInput, 'reference' | 'policy' | 'now'> & { readonly dossier: Evidence },
): Promise<void> {
  const { dossier, policy, now } = input;
  if (dossier.items.length < few) return;
  let rules: readonly TrustRule[];
  try {
    const reference = normaliseReference(input.reference);
    rules = policy.rules.filter((rule) => ruleNamesImage(rule, reference));
  } catch {
    return;
  }
  for (const item of dossier.items) {
    if (!remembered.includes(item.kind)) continue;
    for (const { require } of rules)
      if (require !== undefined)
        evaluateRequirement(require, { ...dossier, items: [item] }, { now, reference: input.reference });
    await giveWay();
  }
}
