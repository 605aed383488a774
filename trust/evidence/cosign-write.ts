import { bundleKeyHint } from '../keys/public-key.ts';
import { signMessage } from '../keys/private-key.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { preAuthEncoding } from '../dsse.ts';
import { bundleMediaType, cosignPredicateType, inTotoPayloadType, simpleSigningType, statementType } from './cosign-names.ts';

/** A sigstore bundle v0.3 that says what `cosign sign --key` (v3) says of an image: an in-toto statement in a DSSE envelope. */
export function makeBundle(digest: string, key: SigningKey): Buffer {
  const statement = {
    _type: statementType,
    subject: [{ digest: { sha256: digest.slice('sha256:'.length) }, annotations: {} }],
    predicateType: cosignPredicateType,
    predicate: {},
  };
  const payload = Buffer.from(JSON.stringify(statement));
  const signature = signMessage(key, preAuthEncoding(inTotoPayloadType, payload));
  return Buffer.from(
    JSON.stringify({
      mediaType: bundleMediaType,
      verificationMaterial: { publicKey: { hint: bundleKeyHint(key.public.spki) } },
      dsseEnvelope: {
        payload: payload.toString('base64'),
        payloadType: inTotoPayloadType,
        signatures: [{ sig: signature.toString('base64') }],
      },
    }),
  );
}

/** The payload of cosign's older form (cosign specs/SIGNATURE_SPEC.md); `identity` is the repository's name. */
export function makeSimpleSigningPayload(digest: string, identity: string): Buffer {
  return Buffer.from(
    JSON.stringify({
      critical: { identity: { 'docker-reference': identity }, image: { 'docker-manifest-digest': digest }, type: simpleSigningType },
      optional: null,
    }),
  );
}
