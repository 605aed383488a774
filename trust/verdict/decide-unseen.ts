import { sealDossier } from '../evidence/dossier.ts';
import { mayAdmit } from '../policy/matching.ts';
import { normaliseReference } from '../requirements/named-images.ts';
import type { DecideInput, Dossier, Verdict } from '../findings/types.ts';
import { decide } from './decide.ts';

/**
 * Returns the verdict on a reference that no evidence could admit, before anything is fetched. Its digest is
 * empty unless the reference names one. Returns undefined when evidence could admit the reference.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function decideUnseen(input: Omit<DecideInput, 'dossier'>): Verdict | undefined {
  if (mayAdmit(input.policy, input.reference, input.namespace, input.now) === undefined) return undefined;
  return decide({ ...input, dossier: unseenDossier(input.reference, input.now) });
}

/**
 * Returns the dossier of a reference for which nothing was fetched.
 * @throws PortcullisError `DISTRIBUTION_BAD_REFERENCE`
 */
export function unseenDossier(text: string, now: Date): Dossier {
  const reference = normaliseReference(text);
  const digest = reference.digest ?? '';
  return sealDossier({
    reference: reference.text,
    digest,
    manifestDigest: digest,
    items: [],
    unreachable: [],
    gatheredAt: now.toISOString(),
  });
}
