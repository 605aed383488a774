import { createHash } from 'node:crypto';
import { PortcullisError } from '../../base/errors/index.ts';
import { keyObjectOf } from '../keys/public-key.ts';
import { recordOf } from '../json/strict-json.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { postJson } from './post-json.ts';
import type { SignatureScheme } from './signature-scheme.ts';

/** A signature that is sent to a Rekor v2 log. */
export interface LoggedSignature {
  /** The signed bytes; for an envelope, its pre-authentication encoding. */
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
  readonly key: PolicyKey;
  /** DER of the key's certificate, if it has one: the log then records the certificate. */
  readonly certificate?: Uint8Array;
}

interface KeyForm {
  readonly scheme: SignatureScheme;
  /** Sigstore's name of the algorithm (sigstore/protobuf-specs sigstore_common.proto, PublicKeyDetails). */
  readonly details: string;
  readonly digest: 'sha256' | 'sha384' | 'sha512';
}

const curves: Readonly<Record<string, KeyForm>> = {
  prime256v1: { scheme: 'ecdsa-sha256', details: 'PKIX_ECDSA_P256_SHA_256', digest: 'sha256' },
  secp384r1: { scheme: 'ecdsa-sha384', details: 'PKIX_ECDSA_P384_SHA_384', digest: 'sha384' },
  secp521r1: { scheme: 'ecdsa-sha512', details: 'PKIX_ECDSA_P521_SHA_512', digest: 'sha512' },
};

/**
 * Returns how a key must sign for a Rekor v2 log. The log verifies the signature with the one algorithm that
 * it allows for the key, and has only the digest for that (sigstore/rekor-tiles CLIENTS.md).
 * @throws PortcullisError `TRUST_SIGNING_SCHEME` when it allows none
 */
export function rekor2Form(key: PolicyKey): KeyForm {
  const object = keyObjectOf(key);
  const { namedCurve = '', modulusLength = 0 } = object.asymmetricKeyDetails ?? {};
  if (object.asymmetricKeyType === 'ed25519')
    return { scheme: 'ed25519ph', details: 'PKIX_ED25519_PH', digest: 'sha512' };
  const curve = Object.hasOwn(curves, namedCurve) ? curves[namedCurve] : undefined;
  if (curve !== undefined) return curve;
  if (object.asymmetricKeyType === 'rsa' && [2048, 3072, 4096].includes(modulusLength))
    return {
      scheme: 'rsa-pkcs1-sha256',
      details: `PKIX_RSA_PKCS1V15_${modulusLength}_SHA256`,
      digest: 'sha256',
    };
  throw new PortcullisError({
    code: 'TRUST_SIGNING_SCHEME',
    kind: 'invalid',
    attempted: 'sign for a Rekor v2 log',
    on: key.name,
    why: 'such a log accepts ECDSA, Ed25519, and RSA keys of 2048, 3072 and 4096 bits',
    fix: 'use another key, or a signing configuration with a Rekor v1 log or without a log',
  });
}

/**
 * Adds a signature to a Rekor v2 log: a `hashedrekord` of version 0.0.2, the only kind that such logs accept,
 * for envelopes too.
 * @returns the entry in the JSON form of bundles
 * @throws Error with a sentence; PortcullisError `TRUST_SIGNING_SCHEME`
 */
export async function logInRekor2(url: string, signed: LoggedSignature): Promise<object> {
  const { details, digest } = rekor2Form(signed.key);
  const rawBytes = signed.certificate === undefined ? signed.key.spki : base64(signed.certificate);
  const request = {
    hashedRekordRequestV002: {
      digest: createHash(digest).update(signed.message).digest('base64'),
      signature: {
        content: base64(signed.signature),
        verifier: {
          [signed.certificate === undefined ? 'publicKey' : 'x509Certificate']: { rawBytes },
          keyDetails: details,
        },
      },
    },
  };
  return entryOf(await postJson(`${url.replace(/\/+$/, '')}/api/v2/log/entries`, request));
}

/** The fields of a transparency log entry (sigstore_rekor.proto, TransparencyLogEntry). */
export const entryFields = [
  'logIndex',
  'logId',
  'kindVersion',
  'integratedTime',
  'inclusionPromise',
  'inclusionProof',
  'canonicalizedBody',
] as const;

/** Returns the fields of a bundle's entry; additional fields of a log are dropped. */
function entryOf(answer: unknown): object {
  const record = recordOf(answer);
  if (
    record?.['logId'] === undefined ||
    record['canonicalizedBody'] === undefined ||
    record['inclusionProof'] === undefined
  )
    throw new Error('its answer is not an entry of a log with its proof');
  return Object.fromEntries(
    entryFields.filter((name) => record[name] !== undefined).map((name) => [name, record[name]]),
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
