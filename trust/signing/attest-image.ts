import { parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { preAuthEncoding } from '../keys/dsse.ts';
import {
  attestationTag,
  dsseMediaType,
  inTotoPayloadType,
  legacyPredicateTypeAnnotation,
  signatureAnnotation,
  statementType,
} from '../evidence/cosign-names.ts';
import type { SigningKey } from '../keys/private-key.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { attachBundle, attachToTag } from './attach.ts';
import type { Attached } from './attach.ts';
import { signBundle } from './dsse-bundle.ts';
import { witnessAnnotations } from './legacy-annotations.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { requirePredicateType } from '../attestation/predicate-types.ts';

/**
 * `bundle`: a sigstore bundle among the referrers, the default of cosign v3. `legacy`: an envelope under the
 * tag `sha256-<hex>.att`.
 */
export type AttestationFormat = 'bundle' | 'legacy';

interface Attesting {
  /** A key, or another signer. */
  readonly key: SigningKey | Signer;
  /** A URI, or a short name such as `slsaprovenance1`. */
  readonly type: string;
  /** JSON. */
  readonly predicate: unknown;
  readonly format: AttestationFormat;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/** An attestation of one digest, and its signer. */
export interface AttestImageInput extends Attesting {
  readonly repository: RegistryRepository;
  /** Digest of the index or manifest that is attested. */
  readonly digest: string;
}

/** An attestation of an image by name, and its signer. */
export interface AttestReferenceInput extends Attesting {
  readonly reference: string;
  readonly registry: RegistryAccess;
}

/** The attested digest and type, and where the attestation is. */
export interface Attested extends Attached {
  readonly digest: string;
  readonly predicateType: string;
  readonly format: AttestationFormat;
}

/**
 * Resolves a reference once and attests its digest, at the origin or, if a mirror replaces it, at the mirror.
 * @throws PortcullisError `TRUST_NO_REGISTRY`, and the errors of {@link attestImage}
 */
export async function attestReference({
  reference,
  registry,
  ...rest
}: AttestReferenceInput): Promise<Attested> {
  const parsed = parseReference(reference);
  // Pushes go to the last of the repositories to ask: the origin, unless a mirror replaces it.
  const repository = (await registry.repositories(parsed)).at(-1);
  if (repository === undefined)
    throw failure('TRUST_NO_REGISTRY', reference, 'no registry serves it', 'check --registry-mirror');
  const { digest } = await repository.resolve(parsed.digest ?? parsed.tag ?? 'latest', rest.signal);
  return attestImage({ ...rest, repository, digest });
}

/**
 * Signs an in-toto statement about one digest and pushes it beside the image, in a form that `cosign
 * verify-attestation` accepts.
 * @throws PortcullisError `TRUST_DIGEST_NOT_SHA256`, `TRUST_PREDICATE_TYPE`, and the errors of the signer and
 * of base/distribution
 */
export async function attestImage(input: AttestImageInput): Promise<Attested> {
  const { repository, digest, type, format, now, signal } = input;
  const predicateType = requirePredicateType(type);
  if (!digest.startsWith('sha256:'))
    throw failure(
      'TRUST_DIGEST_NOT_SHA256',
      digest,
      'attestations support only sha256 digests',
      'name the image by tag or sha256 digest',
    );
  const signer = 'private' in input.key ? keySigner(input.key) : input.key;
  const name = `${repository.host}/${repository.repository}`;
  const payload = attestationPayload(name, [digest], predicateType, input.predicate);
  if (format === 'bundle') {
    const attached = await attachBundle(repository, digest, await signBundle(payload, signer), {
      predicateType,
      now,
      signal,
    });
    return { digest, predicateType, format, ...attached };
  }
  const sig = await signer.sign(preAuthEncoding(inTotoPayloadType, payload));
  const envelope = Buffer.from(
    JSON.stringify({
      payloadType: inTotoPayloadType,
      payload: payload.toString('base64'),
      signatures: [{ keyid: '', sig: sig.toString('base64') }],
    }),
  );
  // Readers of this form in cosign expect a time stamp over the envelope, not over the signature in it.
  const content = {
    kind: 'dsse',
    payload,
    payloadType: inTotoPayloadType,
    signature: sig,
    envelope,
    stamped: envelope,
  } as const;
  const witnessed = await witnessAnnotations(content, signer);
  const layer = {
    mediaType: dsseMediaType,
    bytes: envelope,
    // cosign requires the first annotation, which is empty: the signature is in the envelope.
    annotations: { [signatureAnnotation]: '', [legacyPredicateTypeAnnotation]: predicateType, ...witnessed },
  };
  return {
    digest,
    predicateType,
    format,
    ...(await attachToTag(repository, attestationTag(digest), layer, signal)),
  };
}

/**
 * Returns an in-toto statement about digests of one repository, as it is signed.
 * @param digests `sha256:<hex>`
 */
export function attestationPayload(
  name: string,
  digests: readonly string[],
  predicateType: string,
  predicate: unknown,
): Buffer {
  const subject = digests.map((digest) => ({ name, digest: { sha256: digest.slice('sha256:'.length) } }));
  return Buffer.from(JSON.stringify({ _type: statementType, subject, predicateType, predicate }));
}

function failure(code: string, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind: 'invalid', attempted: 'attest image', on, why, fix });
}
