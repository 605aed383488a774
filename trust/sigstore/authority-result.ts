import type { ProvenFacts } from '../findings/signature-finding.ts';
import type { SigstoreCode } from './verify.ts';

/** The facts that an authority's signature proves, or the reason why the signature does not count. */
export type AuthorityResult =
  | {
      readonly proven: Required<Pick<ProvenFacts, 'signer'>> & Pick<ProvenFacts, 'also' | 'signedAt'>;
      readonly validUntil?: string;
    }
  | {
      readonly code:
        | SigstoreCode
        | 'TRUST_SIGSTORE_IDENTITY'
        | 'TRUST_SIGNATURE_OTHER_KEY'
        | 'TRUST_CERTIFICATE_CHAIN';
      readonly problem: string;
      readonly validUntil?: string;
    };
