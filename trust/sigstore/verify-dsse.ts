import { parseStrictJson, recordOf } from '../strict-json.ts';
import type { ProvenFacts } from '../verdict/signature-finding.ts';
import { verifyForAuthority } from './authority.ts';
import type { AuthorityResult, SigstoreAuthority } from './authority.ts';
import { readBundle, readEnvelope } from './bundle.ts';
import type { Bundle } from './bundle.ts';

/** What an envelope holds, and what its signature has proven; or why the signature does not count. */
export type VerifiedEnvelope =
  | { readonly payloadType: string; readonly payload: Buffer; readonly proven: ProvenFacts }
  | Extract<AuthorityResult, { readonly problem: string }>;

/**
 * Verifies the DSSE envelope of a sigstore bundle (0.1 to 0.3), or a bare envelope, for one authority. A bare envelope has no
 * certificate and no log entry: only a key without `log` can have signed it. Of a bare envelope with several signatures one must
 * count. The payload's meaning, and whose it is, are for the caller to judge. Pure; never throws. Ed25519ph needs `loadPrehashed`.
 */
export function verifyDsse(bytes: Uint8Array, authority: SigstoreAuthority, now: Date): VerifiedEnvelope {
  let bundles: readonly Bundle[];
  try {
    bundles = readEither(bytes);
  } catch (error) {
    return { code: 'TRUST_SIGNATURE_MALFORMED', problem: (error as Error).message };
  }
  let failure: VerifiedEnvelope = { code: 'TRUST_SIGNATURE_MALFORMED', problem: 'it is not a DSSE envelope' };
  for (const bundle of bundles) {
    if (bundle.content.kind !== 'dsse') continue;
    const result = verifyForAuthority(bundle, undefined, authority, now);
    if ('proven' in result) return { payloadType: bundle.content.payloadType, payload: bundle.content.payload, proven: result.proven };
    failure = result;
  }
  return failure;
}

const maximumSignatures = 16;

function readEither(bytes: Uint8Array): readonly Bundle[] {
  const record = recordOf(parseStrictJson(bytes));
  if (record?.['payloadType'] === undefined) return [readBundle(bytes)];
  const signatures = record['signatures'];
  if (!Array.isArray(signatures) || signatures.length === 0 || signatures.length > maximumSignatures)
    throw new Error(`its envelope has not 1 to ${maximumSignatures} signatures`);
  return signatures.map((signature: unknown) => ({
    version: 'legacy',
    content: readEnvelope({ ...record, signatures: [signature] }),
    certificates: [],
    logEntries: [],
    timeStamps: [],
  }));
}
