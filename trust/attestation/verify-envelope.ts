import { preAuthEncoding } from '../dsse.ts';
import { bundleKeyHint, describeKey, signerOfKey } from '../keys/public-key.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import type { AttestationRequirement, EvidenceItem, PolicyKey } from '../types.ts';
import type { EvaluationContext } from '../verdict/evaluation.ts';
import type { ProvenFacts } from '../verdict/signature-finding.ts';
import type { Envelope } from './envelope.ts';

/** Whether an authority has signed an envelope: who exactly, or why not. */
export type EnvelopeFinding =
  | { readonly proven: ProvenFacts; readonly validUntil?: string; readonly says?: undefined }
  | { readonly code: string; readonly says: string; readonly proven?: undefined };

/** Checks the signature of an envelope, whatever its payload says. Pure, and never throws. */
export function verifyEnvelope(
  envelope: Envelope,
  _item: EvidenceItem,
  by: AttestationRequirement['by'],
  _context: EvaluationContext,
): EnvelopeFinding {
  if (by.kind === 'cosign-key') return verifyByKey(envelope, by.key);
  return { code: 'TRUST_AUTHORITY_MISSING', says: 'its authority can not be asked by this version' };
}

/** The authority in words that complete "an attestation by …". */
export function describeAuthority(by: AttestationRequirement['by']): string {
  return by.kind === 'cosign-key' ? `the key ${describeKey(by.key)}` : 'a sigstore identity';
}

function verifyByKey({ payloadType, payload, signatures, keyHint }: Envelope, key: PolicyKey): EnvelopeFinding {
  const message = preAuthEncoding(payloadType, payload);
  if (signatures.some((signature) => verifySignature(key, message, signature))) return { proven: { signer: signerOfKey(key) } };
  const own = bundleKeyHint(key.spki);
  if (keyHint !== undefined && keyHint !== own)
    return {
      code: 'TRUST_SIGNATURE_OTHER_KEY',
      says: `it was made by another key: it names the key ${keyHint.slice(0, 100)}, and ours is ${own}`,
    };
  return {
    code: 'TRUST_SIGNATURE_WRONG',
    says: 'its signature does not fit its payload and this key: one of them was changed, or another key signed',
  };
}
