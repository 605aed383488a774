import { createHash } from 'node:crypto';
import { preAuthEncoding } from '../keys/dsse.ts';
import {
  bundleMediaType,
  cosignPredicateType,
  inTotoPayloadType,
  statementType,
} from '../evidence/cosign-names.ts';
import { bundleKeyHint } from '../keys/public-key.ts';
import { identityCertificate, witnessedScheme } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { witness } from '../signers/witness.ts';
import type { Witnessed } from '../signers/witness.ts';
import { readBundle } from '../sigstore/bundle.ts';
import { envelopeMessage } from '../sigstore/log-body.ts';
import type { SignedMessage } from '../sigstore/log-body.ts';
import { checkAnswers } from './check-answers.ts';

/** Returns the statement that `cosign sign` (v3) signs for an image, with signed annotations. */
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
 * Returns a sigstore bundle v0.3 with a DSSE envelope over `payload`, signed by the signer and attested by
 * its witnesses. Used for images and attestations.
 * @throws PortcullisError of the signer, `TRUST_WITNESS_FAILED`
 */
export async function signBundle(
  payload: Buffer,
  signer: Signer,
  payloadType: string = inTotoPayloadType,
): Promise<Buffer> {
  const signature = await signer.sign(preAuthEncoding(payloadType, payload), witnessedScheme(signer));
  const envelope = { payload: base64(payload), payloadType, signatures: [{ sig: base64(signature) }] };
  return bundleOf(
    signer,
    { kind: 'dsse', payload, payloadType, signature, envelope: Buffer.from(JSON.stringify(envelope)) },
    { dsseEnvelope: envelope },
  );
}

/**
 * Returns a sigstore bundle v0.3 with a signature over `message` itself.
 * @throws PortcullisError of the signer, `TRUST_WITNESS_FAILED`
 */
export async function signMessageBundle(message: Buffer, signer: Signer): Promise<Buffer> {
  const signature = await signer.sign(message, witnessedScheme(signer));
  const messageDigest = {
    algorithm: 'SHA2_256',
    digest: createHash('sha256').update(message).digest('base64'),
  };
  return bundleOf(
    signer,
    { kind: 'message', message, signature },
    { messageSignature: { messageDigest, signature: base64(signature) } },
  );
}

async function bundleOf(signer: Signer, signed: Witnessed, content: object): Promise<Buffer> {
  const leaf = identityCertificate(signer);
  const key =
    leaf === undefined
      ? { publicKey: { hint: bundleKeyHint(signer.public.spki) } }
      : { certificate: { rawBytes: base64(leaf) } };
  const witnessed = await witness(signed, signer);
  const bundle = Buffer.from(
    JSON.stringify({
      mediaType: bundleMediaType,
      verificationMaterial: { ...key, ...witnessed },
      ...content,
    }),
  );
  checkAnswers(signer, () => ({ bundle: readBundle(bundle), message: messageOf(signed) }));
  return bundle;
}

function messageOf(signed: Witnessed): SignedMessage {
  return signed.kind === 'dsse' ? envelopeMessage(signed) : { bytes: signed.message, digests: {} };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
