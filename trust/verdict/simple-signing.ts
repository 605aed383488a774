import { signatureAnnotation, simpleSigningType } from '../evidence/cosign-names.ts';
import { signerOfKey } from '../keys/public-key.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import type { EvidenceItem, PolicyKey } from '../types.ts';
import { ed25519Note, judgeDigests, malformed, otherClaim } from './signature-finding.ts';
import type { SignatureFinding, Subject } from './signature-finding.ts';
import { decodeBase64, parseStrictJson, recordOf, textsOf } from '../strict-json.ts';

/**
 * cosign's older form: the layer is the signed payload, the signature an annotation of its descriptor.
 * The payload's docker-reference is shown but never decides (docs/decisions/0003-cosign-docker-reference.md).
 * Source: cosign specs/SIGNATURE_SPEC.md; containers-signature(5).
 */
export function checkSimpleSigning(item: EvidenceItem, bytes: Uint8Array, key: PolicyKey, subject: Subject): SignatureFinding {
  const signature = decodeBase64(item.annotations[signatureAnnotation]);
  if (signature === undefined) return malformed(`its annotation ${signatureAnnotation} is missing or not base64`);
  const payload = readPayload(bytes);
  if (!verifySignature(key, bytes, signature)) {
    const claim = otherClaim(payload.problem === undefined ? [payload.digest] : [], subject);
    return {
      counted: false,
      code: 'TRUST_SIGNATURE_WRONG',
      says: `the signature does not fit its payload and this key: one of them was changed, or another key signed${ed25519Note(key)}${claim}`,
    };
  }
  if (payload.problem !== undefined) return malformed(payload.problem);
  // Control characters of a payload never reach a terminal.
  const identity = (payload.identity ?? '').slice(0, 255).replace(/[^\x20-\x7e]/g, '?');
  const finding = judgeDigests([payload.digest], subject, `the signature${identity === '' ? '' : `, made for ${identity},`}`);
  if (!finding.counted) return finding;
  const { annotations } = payload;
  const name = payload.identity === undefined ? {} : { claimedReference: payload.identity };
  return { ...finding, proven: { signer: signerOfKey(key), annotations, ...name } };
}

type Payload =
  | { readonly problem: string }
  | {
      readonly digest: string;
      readonly identity: string | undefined;
      readonly annotations: Readonly<Record<string, string>>;
      readonly problem?: undefined;
    };

function readPayload(bytes: Uint8Array): Payload {
  let payload: Readonly<Record<string, unknown>> | undefined;
  try {
    payload = recordOf(parseStrictJson(bytes));
  } catch (error) {
    return { problem: `its payload: ${(error as Error).message}` };
  }
  const critical = recordOf(payload?.['critical']);
  if (critical === undefined) return { problem: 'its payload has no "critical" part' };
  if (critical['type'] !== simpleSigningType) return { problem: `its payload's type is not "${simpleSigningType}"` };
  const digest = recordOf(critical['image'])?.['docker-manifest-digest'];
  if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) return { problem: 'its payload names no sha256 digest' };
  const identity = recordOf(critical['identity'])?.['docker-reference'];
  return { digest, identity: typeof identity === 'string' ? identity : undefined, annotations: textsOf(payload?.['optional']) };
}
