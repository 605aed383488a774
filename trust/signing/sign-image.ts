import type { RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { sha256Digest } from '../json/canonical-json.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import { decodeBase64 } from '../json/strict-json.ts';
import {
  cosignPredicateType,
  signatureAnnotation,
  signatureTag,
  simpleSigningMediaType,
} from '../evidence/cosign-names.ts';
import { notationArtifactType, thumbprintAnnotation } from '../notation/media-types.ts';
import { attachArtifact, attachBundle, attachToTag, layersAt } from './attach.ts';
import type { Attached } from './attach.ts';
import { imageStatement, signBundle } from './dsse-bundle.ts';
import { isWitnessed, legacyAnnotationsOf } from './legacy-annotations.ts';
import { keySigner } from '../signers/signer.ts';
import type { Signer } from '../signers/signer.ts';
import { makeSimpleSigningPayload } from './simple-signing-payload.ts';

/**
 * `bundle`: a sigstore bundle among the referrers, cosign v3's default. `legacy`: the tag `sha256-<hex>.sig`,
 * for older readers. `notation-jws` and `notation-cose`: the Notary Project's envelopes, which require a
 * signer with certificates.
 */
export const signatureFormats = ['bundle', 'legacy', 'notation-jws', 'notation-cose'] as const;
/** One of {@link signatureFormats}. */
export type SignatureFormat = (typeof signatureFormats)[number];

/** The image, the signer and the format. */
export interface SignImageInput {
  readonly repository: RegistryRepository;
  /** Digest of the index or manifest to sign. */
  readonly digest: string;
  /** A key, or any other signer. */
  readonly key: SigningKey | Signer;
  readonly format: SignatureFormat;
  /** The name in the payload of the older form; default: the repository's own. */
  readonly identity?: string;
  /** Signed with the digest. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** The signature is invalid from then on. Only the Notary Project's formats support it. */
  readonly expiry?: Date;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/** The signed digest, its format, and the location of the signature. */
export interface SignedImage extends Attached {
  readonly digest: string;
  readonly format: SignatureFormat;
}

/**
 * Signs one digest and pushes a signature that cosign or notation accepts.
 * @throws PortcullisError `TRUST_DIGEST_NOT_SHA256`, and the errors of the signer and of base/distribution
 */
export async function signImage(input: SignImageInput): Promise<SignedImage> {
  const { digest, format } = input;
  if (!digest.startsWith('sha256:')) {
    throw new PortcullisError({
      code: 'TRUST_DIGEST_NOT_SHA256',
      kind: 'invalid',
      attempted: 'sign image',
      on: digest,
      why: 'signatures support only sha256 digests',
      fix: 'name the image by tag or sha256 digest',
    });
  }
  const signer = 'private' in input.key ? keySigner(input.key) : input.key;
  return { digest, format, ...(await pushers[format](input, signer)) };
}

const pushers: Readonly<
  Record<SignatureFormat, (input: SignImageInput, signer: Signer) => Promise<Attached>>
> = {
  bundle: pushBundle,
  legacy: pushSimpleSigning,
  'notation-jws': (input, signer) => pushNotation(input, signer, 'jws'),
  'notation-cose': (input, signer) => pushNotation(input, signer, 'cose'),
};

/** Pushes a signature as notation does (Notary Project, signature-specification.md, "Signature Manifest"). */
async function pushNotation(
  input: SignImageInput,
  signer: Signer,
  format: 'jws' | 'cose',
): Promise<Attached> {
  const { repository, digest, annotations = {}, now, expiry, signal } = input;
  const { makeNotationSignature } = await import('../notation/sign.ts');
  const { mediaType, size } = await repository.resolve(digest, signal);
  const target = { mediaType, digest, size, annotations };
  const options = {
    ...(expiry === undefined ? {} : { expiry }),
    ...(signal === undefined ? {} : { signal }),
  };
  const made = await makeNotationSignature({ format, target, signer, now, ...options });
  const artifact = {
    config: { mediaType: notationArtifactType },
    mediaType: made.mediaType,
    bytes: made.envelope,
    annotations: { [thumbprintAnnotation]: JSON.stringify(made.thumbprints) },
  };
  return attachArtifact(repository, target, artifact, now, signal);
}

async function pushBundle(
  { repository, digest, annotations, now, signal }: SignImageInput,
  signer: Signer,
): Promise<Attached> {
  const bundle = await signBundle(imageStatement(digest, annotations), signer);
  return attachBundle(repository, digest, bundle, { predicateType: cosignPredicateType, now, signal });
}

async function pushSimpleSigning(input: SignImageInput, signer: Signer): Promise<Attached> {
  const { repository, digest, identity, annotations, signal } = input;
  const tag = signatureTag(digest);
  const payload = makeSimpleSigningPayload(
    digest,
    identity ?? `${repository.host}/${repository.repository}`,
    annotations,
  );
  const present = await layersAt(repository, tag, signal);
  const own =
    signer.identity === true
      ? undefined
      : present.find(({ digest: blob, annotations: notes }) => {
          const signature =
            blob === sha256Digest(payload) && isWitnessed(notes ?? {}, signer)
              ? decodeBase64(notes?.[signatureAnnotation])
              : undefined;
          return signature !== undefined && verifySignature(signer.public, payload, signature);
        });
  // The same key has signed the same payload before, and the services have confirmed it.
  if (own !== undefined) return { manifestDigest: (await repository.resolve(tag, signal)).digest, via: tag };
  const layer = {
    mediaType: simpleSigningMediaType,
    bytes: payload,
    annotations: await legacyAnnotationsOf(payload, signer),
  };
  return attachToTag(repository, tag, layer, signal);
}
