import type { AttestationRequirement, Reason } from '../types.ts';
import { describeAuthority } from './verify-envelope.ts';

/** What an attestation requirement demands, in words. */
export function explainAttestation({ predicateType, by, cel }: AttestationRequirement): Reason {
  return {
    counted: true,
    text: `an attestation of the type ${predicateType} by ${describeAuthority(by)}`,
    ...(cel.length === 0 ? {} : { children: cel.map((text) => ({ counted: true, text: `for which this is true: ${text}` })) }),
  };
}
