import { createPublicKey } from 'node:crypto';
import { preAuthEncoding } from '../dsse.ts';
import { bundleMediaType, cosignPredicateType, inTotoPayloadType, statementType } from '../evidence/cosign-names.ts';
import { bundleKeyHint } from '../keys/public-key.ts';
import type { Signer } from './signer.ts';
import { witness } from './witness.ts';

/** The statement that `cosign sign` (v3) signs for an image, with signed annotations. */
export function imageStatement(digest: string, annotations: Readonly<Record<string, string>> = {}): Buffer {
  const statement = {
    _type: statementType,
    subject: [{ digest: { sha256: digest.slice('sha256:'.length) }, annotations }],
    predicateType: cosignPredicateType,
    predicate: {},
  };
  return Buffer.from(JSON.stringify(statement));
}

/**
 * A sigstore bundle v0.3 with a DSSE envelope over `payload`, signed and then witnessed as the signer says. For images and for
 * attestations alike.
 * @throws PortcullisError of the signer, `TRUST_WITNESS_FAILED`
 */
export async function signBundle(payload: Buffer, signer: Signer, payloadType: string = inTotoPayloadType): Promise<Buffer> {
  const sig = await signer.sign(preAuthEncoding(payloadType, payload));
  const [leaf] = signer.certificates;
  const key = leaf === undefined ? { publicKey: { hint: bundleKeyHint(signer.public.spki) } } : { certificate: { rawBytes: base64(leaf) } };
  const witnessed = await witness({ kind: 'dsse', payload, payloadType, signature: sig }, verifierPem(signer), signer.witnesses);
  return Buffer.from(
    JSON.stringify({
      mediaType: bundleMediaType,
      verificationMaterial: { ...key, ...witnessed },
      dsseEnvelope: { payload: base64(payload), payloadType, signatures: [{ sig: base64(sig) }] },
    }),
  );
}

/** What a log is told to verify the signature with: the certificate, else the key. PEM. */
export function verifierPem(signer: Signer): string {
  const [leaf] = signer.certificates;
  if (leaf !== undefined)
    return `-----BEGIN CERTIFICATE-----\n${base64(leaf).replace(/(.{64})(?=.)/g, '$1\n')}\n-----END CERTIFICATE-----\n`;
  return createPublicKey({ key: Buffer.from(signer.public.spki, 'base64'), format: 'der', type: 'spki' })
    .export({ type: 'spki', format: 'pem' })
    .toString();
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
