import { signatureAnnotation, simpleSigningType } from '../evidence/cosign-names.ts';
import { verifyForAuthority } from './authority.ts';
import type { SignatureCheck, SigstoreAuthority } from './authority.ts';
import type { Bundle } from '../sigstore/bundle.ts';
import { legacyBundle, signerAnnotations } from '../sigstore/legacy-bundle.ts';
import type { EvidenceItem } from '../findings/types.ts';
import { judgeDigests, malformed, otherClaim, untilOf } from '../findings/signature-finding.ts';
import { decodeBase64, parseStrictJson, recordOf, textsOf } from '../json/strict-json.ts';

/**
 * Checks cosign's older form: the layer is the signed payload, the signature an annotation of its descriptor.
 * The payload's docker-reference is shown but never decides (docs/decisions/0003-cosign-docker-reference.md).
 * Source: cosign specs/SIGNATURE_SPEC.md; containers-signature(5).
 */
export const checkSimpleSigning: SignatureCheck = (item, bytes, authority, subject, now) => {
  const signature = decodeBase64(item.annotations[signatureAnnotation]);
  if (signature === undefined)
    return malformed(`its annotation ${signatureAnnotation} is missing or not base64`);
  const payload = readPayload(bytes);
  let bundle: Bundle;
  try {
    bundle = legacyBundle(signature, believed(item, authority));
  } catch (error) {
    return malformed((error as Error).message);
  }
  const result = verifyForAuthority(bundle, { bytes, digests: {} }, authority, now);
  if ('problem' in result) {
    const claim = otherClaim(payload.problem === undefined ? [payload.digest] : [], subject);
    const wrong =
      authority.kind === 'cosign-key' && result.code === 'TRUST_SIGNATURE_WRONG'
        ? 'the signature does not match its payload and this key: one of them was changed, or another key signed'
        : result.problem;
    return { counted: false, code: result.code, says: `${wrong}${claim}`, ...untilOf(result) };
  }
  if (payload.problem !== undefined) return malformed(payload.problem);
  // Control characters of a payload must never reach a terminal.
  const identity = (payload.identity ?? '').slice(0, 255).replace(/[^\x20-\x7e]/g, '?');
  const finding = judgeDigests(
    [payload.digest],
    subject,
    `the signature${identity === '' ? '' : `, made for ${identity},`}`,
  );
  if (!finding.counted) return finding;
  const { annotations } = payload;
  const name = payload.identity === undefined ? {} : { claimedReference: payload.identity };
  return { ...finding, ...untilOf(result), proven: { ...result.proven, annotations, ...name } };
};

/**
 * Returns the annotations to evaluate. Where only the key or the certificate is trusted, no other data beside
 * the signature is read.
 */
function believed(
  { annotations }: EvidenceItem,
  authority: SigstoreAuthority,
): Readonly<Record<string, string>> {
  if (authority.kind === 'cosign-key' && authority.log === undefined) return {};
  if (authority.kind !== 'pki') return annotations;
  return Object.fromEntries(Object.entries(annotations).filter(([name]) => signerAnnotations.includes(name)));
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
  if (critical['type'] !== simpleSigningType)
    return { problem: `its payload's type is not "${simpleSigningType}"` };
  const digest = recordOf(critical['image'])?.['docker-manifest-digest'];
  if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest))
    return { problem: 'its payload names no sha256 digest' };
  const identity = recordOf(critical['identity'])?.['docker-reference'];
  return {
    digest,
    identity: typeof identity === 'string' ? identity : undefined,
    annotations: textsOf(payload?.['optional']),
  };
}
