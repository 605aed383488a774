import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { sha256Digest } from '../canonical-json.ts';
import type { SigningKey } from '../keys/private-key.ts';
import { signMessage } from '../keys/private-key.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import { decodeBase64 } from '../strict-json.ts';
import { isNotFound } from './collection.ts';
import {
  bundleContentAnnotation,
  bundleMediaType,
  cosignPredicateType,
  emptyType,
  ociConfigType,
  ociManifestType,
  predicateTypeAnnotation,
  signatureAnnotation,
  signatureTag,
  simpleSigningMediaType,
} from './cosign-names.ts';
import { makeBundle, makeSimpleSigningPayload } from './cosign-write.ts';

/** `bundle`: a sigstore bundle among the referrers, cosign v3's default. `legacy`: the tag `sha256-<hex>.sig`, for older readers. */
export type SignatureFormat = 'bundle' | 'legacy';

export interface SignImageInput {
  readonly repository: RegistryRepository;
  /** Digest of the index or manifest to sign. */
  readonly digest: string;
  readonly key: SigningKey;
  readonly format: SignatureFormat;
  /** The name that the older form's payload claims; the repository's own unless given. */
  readonly identity?: string;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

export interface SignedImage {
  readonly digest: string;
  readonly format: SignatureFormat;
  /** Digest of the manifest that holds the signature. */
  readonly manifestDigest: string;
  /** `referrers`, `fallback-tag` or the tag. */
  readonly via: string;
}

/**
 * Signs one digest and pushes what `cosign verify --key` accepts.
 * @throws PortcullisError `TRUST_DIGEST_NOT_SHA256`, and those of base/distribution
 */
export async function signImage(input: SignImageInput): Promise<SignedImage> {
  if (!input.digest.startsWith('sha256:')) {
    throw new PortcullisError({
      code: 'TRUST_DIGEST_NOT_SHA256',
      kind: 'invalid',
      attempted: 'sign image',
      on: input.digest,
      why: "cosign's signatures name sha256 digests only",
      fix: 'name the image by tag or sha256 digest',
    });
  }
  return input.format === 'bundle' ? pushBundle(input) : pushSimpleSigning(input);
}

async function pushBundle({ repository, digest, key, now, signal }: SignImageInput): Promise<SignedImage> {
  const subject = await repository.resolve(digest, signal);
  const [layer, empty] = await Promise.all([repository.pushBlob(makeBundle(digest, key)), repository.pushBlob(Buffer.from('{}'))]);
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifestType,
    artifactType: bundleMediaType,
    // cosign names the type here too, and registries without OCI 1.1 take a listing's artifactType from the configuration.
    config: { mediaType: emptyType, digest: empty.digest, size: empty.size, artifactType: bundleMediaType },
    layers: [{ mediaType: bundleMediaType, digest: layer.digest, size: layer.size }],
    subject: { mediaType: subject.mediaType, digest: subject.digest, size: subject.size },
    annotations: {
      [bundleContentAnnotation]: 'dsse-envelope',
      [predicateTypeAnnotation]: cosignPredicateType,
      'org.opencontainers.image.created': now.toISOString().replace(/\.\d+Z$/, 'Z'),
    },
  };
  const pushed = await repository.pushReferrer(Buffer.from(JSON.stringify(manifest)), ociManifestType);
  return { digest, format: 'bundle', manifestDigest: pushed.digest, via: pushed.via };
}

async function pushSimpleSigning({ repository, digest, key, identity, signal }: SignImageInput): Promise<SignedImage> {
  const tag = signatureTag(digest);
  const payload = makeSimpleSigningPayload(digest, identity ?? `${repository.host}/${repository.repository}`);
  const present = await presentSignatures(repository, tag, signal);
  const own = present?.layers.find((layer) => layer.digest === sha256Digest(payload) && signedBy(layer, payload, key));
  if (present !== undefined && own !== undefined) return { digest, format: 'legacy', manifestDigest: present.manifestDigest, via: tag };
  const { size, digest: blobDigest } = await repository.pushBlob(payload);
  const layer: Descriptor = {
    mediaType: simpleSigningMediaType,
    digest: blobDigest,
    size,
    annotations: { [signatureAnnotation]: signMessage(key, payload).toString('base64') },
  };
  const layers = [...(present?.layers ?? []), layer];
  const config = await pushConfig(repository, layers);
  const manifest = { schemaVersion: 2, mediaType: ociManifestType, config, layers };
  const pushed = await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), ociManifestType, { tag });
  return { digest, format: 'legacy', manifestDigest: pushed.digest, via: tag };
}

async function presentSignatures(
  repository: RegistryRepository,
  tag: string,
  signal?: AbortSignal,
): Promise<{ readonly layers: readonly Descriptor[]; readonly manifestDigest: string } | undefined> {
  try {
    const { content, digest } = await repository.manifest(tag, signal);
    return { layers: content.kind === 'manifest' ? content.layers : [], manifestDigest: digest };
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function signedBy(layer: Descriptor, payload: Uint8Array, key: SigningKey): boolean {
  const signature = decodeBase64(layer.annotations?.[signatureAnnotation]);
  return signature !== undefined && verifySignature(key.public, payload, signature);
}

/** cosign's older form is an image: its configuration lists the payloads as layers, which stand uncompressed. */
async function pushConfig(
  repository: RegistryRepository,
  layers: readonly Descriptor[],
): Promise<Pick<Descriptor, 'mediaType' | 'digest' | 'size'>> {
  const config = {
    architecture: '',
    created: '0001-01-01T00:00:00Z',
    history: layers.map(() => ({ created: '0001-01-01T00:00:00Z' })),
    os: '',
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
    config: {},
  };
  const { digest, size } = await repository.pushBlob(Buffer.from(JSON.stringify(config)));
  return { mediaType: ociConfigType, digest, size };
}
