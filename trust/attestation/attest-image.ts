import { parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { preAuthEncoding } from '../dsse.ts';
import {
  attestationTag,
  dsseMediaType,
  inTotoPayloadType,
  legacyPredicateTypeAnnotation,
  signatureAnnotation,
  statementType,
} from '../evidence/cosign-names.ts';
import type { SigningKey } from '../keys/private-key.ts';
import type { RegistryAccess } from '../registry-access.ts';
import { attachBundle, attachToTag } from '../signing/attach.ts';
import type { Attached } from '../signing/attach.ts';
import { signBundle } from '../signing/dsse-bundle.ts';
import { witnessAnnotations } from '../signing/legacy-annotations.ts';
import { keySigner } from '../signing/signer.ts';
import type { Signer } from '../signing/signer.ts';
import { predicateShortNames, predicateTypeOf } from './predicate-types.ts';

/** `bundle`: a sigstore bundle among the referrers, cosign v3's default. `legacy`: an envelope under the tag `sha256-<hex>.att`. */
export type AttestationFormat = 'bundle' | 'legacy';

interface Attesting {
  /** A key, or anything else that signs. */
  readonly key: SigningKey | Signer;
  /** A URI, or a short name such as `slsaprovenance1`. */
  readonly type: string;
  /** JSON. */
  readonly predicate: unknown;
  readonly format: AttestationFormat;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/** What is stated of one digest, by whom. */
export interface AttestImageInput extends Attesting {
  readonly repository: RegistryRepository;
  /** Digest of the index or manifest that is attested. */
  readonly digest: string;
}

/** What is stated of an image by its name, by whom. */
export interface AttestReferenceInput extends Attesting {
  readonly reference: string;
  readonly registry: RegistryAccess;
}

/** Which digest was attested as what, and where the attestation is. */
export interface Attested extends Attached {
  readonly digest: string;
  readonly predicateType: string;
  readonly format: AttestationFormat;
}

/**
 * Resolves a reference once and attests its digest, at the origin or, where that is replaced, its mirror.
 * @throws PortcullisError `TRUST_NO_REGISTRY`, and those of {@link attestImage}
 */
export async function attestReference({ reference, registry, ...rest }: AttestReferenceInput): Promise<Attested> {
  const parsed = parseReference(reference);
  // Pushes go to the last of the places that are asked: the origin, unless a mirror stands for it.
  const repository = (await registry.repositories(parsed)).at(-1);
  if (repository === undefined) throw failure('TRUST_NO_REGISTRY', reference, 'no registry serves it', 'check --registry-mirror');
  const { digest } = await repository.resolve(parsed.digest ?? parsed.tag ?? 'latest', rest.signal);
  return attestImage({ ...rest, repository, digest });
}

/**
 * Signs an in-toto statement about one digest and puts it beside the image, as `cosign verify-attestation` accepts it.
 * @throws PortcullisError `TRUST_DIGEST_NOT_SHA256`, `TRUST_PREDICATE_TYPE`, and those of the signer and
 * of base/distribution
 */
export async function attestImage(input: AttestImageInput): Promise<Attested> {
  const { repository, digest, type, format, now, signal } = input;
  const predicateType = predicateTypeOf(type);
  if (predicateType === undefined)
    throw failure('TRUST_PREDICATE_TYPE', type, 'it is no predicate type', `write a URI, or one of ${predicateShortNames.join(', ')}`);
  if (!digest.startsWith('sha256:'))
    throw failure('TRUST_DIGEST_NOT_SHA256', digest, 'attestations name sha256 digests only', 'name the image by tag or sha256 digest');
  const signer = 'private' in input.key ? keySigner(input.key) : input.key;
  const name = `${repository.host}/${repository.repository}`;
  const subject = [{ name, digest: { sha256: digest.slice('sha256:'.length) } }];
  const payload = Buffer.from(JSON.stringify({ _type: statementType, subject, predicateType, predicate: input.predicate }));
  if (format === 'bundle') {
    const attached = await attachBundle(repository, digest, await signBundle(payload, signer), { predicateType, now, signal });
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
  // cosign's readers of this form want the envelope stamped, not the signature in it.
  const content = { kind: 'dsse', payload, payloadType: inTotoPayloadType, signature: sig, envelope, stamped: envelope } as const;
  const witnessed = await witnessAnnotations(content, signer);
  const layer = {
    mediaType: dsseMediaType,
    bytes: envelope,
    // cosign looks for the first, which is empty: the signature stands in the envelope.
    annotations: { [signatureAnnotation]: '', [legacyPredicateTypeAnnotation]: predicateType, ...witnessed },
  };
  return { digest, predicateType, format, ...(await attachToTag(repository, attestationTag(digest), layer, signal)) };
}

function failure(code: string, on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({ code, kind: 'invalid', attempted: 'attest image', on, why, fix });
}
