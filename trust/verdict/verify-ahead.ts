import { setImmediate as giveWay } from 'node:timers/promises';
import { normaliseReference, ruleNamesImage } from '../policy/matching.ts';
import type { DecideInput, EvidenceItem, TrustRule } from '../types.ts';
import type { Evidence } from './evaluation.ts';
import { evaluateRequirement } from './requirement.ts';

/** Kinds whose verification is dear and is remembered (`sigstore/verify-once.ts`). */
const remembered: readonly EvidenceItem['kind'][] = ['sigstore-bundle', 'cosign-simple-signing', 'attestation'];
/** Fewer cost less than the budget of the main thread, all together. */
const few = 4;

/**
 * Verifies the signatures of a dossier one at a time and lets others run in between, so that `decide`, which is synchronous, finds what is dear
 * already known: a registry that serves dozens of signatures does not stall the thread. Decides nothing, and changes no decision.
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
      if (require !== undefined) evaluateRequirement(require, { ...dossier, items: [item] }, { now, reference: input.reference });
    await giveWay();
  }
}
