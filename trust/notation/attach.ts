import type { RegistryRepository } from '../../base/distribution/index.ts';
import { ociManifestType } from '../evidence/cosign-names.ts';
import type { Attached } from '../signing/attach.ts';
import type { Signer } from '../signing/signer.ts';
import { notationArtifactType, thumbprintAnnotation } from './names.ts';
import { makeNotationSignature } from './sign.ts';

export interface NotationAttachment {
  readonly repository: RegistryRepository;
  /** Digest of the index or manifest to sign. */
  readonly digest: string;
  readonly signer: Signer;
  readonly format: 'jws' | 'cose';
  /** Signed with the digest. */
  readonly annotations?: Readonly<Record<string, string>>;
  readonly expiry?: Date;
  readonly now: Date;
  readonly signal?: AbortSignal;
}

/**
 * Signs an image as notation does and puts the signature beside it: an artifact whose subject is the image
 * (signature-specification.md, "OCI Signatures").
 * @throws PortcullisError of {@link makeNotationSignature} and of base/distribution
 */
export async function attachNotation(input: NotationAttachment): Promise<Attached> {
  const { repository, digest, signer, format, annotations = {}, expiry, now, signal } = input;
  const options = signal === undefined ? {} : { signal };
  // The manifest's own bytes: size and media type are signed, too.
  const { bytes, mediaType } = await repository.manifest(digest, signal);
  const target = { mediaType, digest, size: bytes.byteLength };
  const signature = await makeNotationSignature({
    format,
    target: { ...target, annotations },
    signer,
    now,
    ...(expiry === undefined ? {} : { expiry }),
    ...options,
  });
  const [layer, config] = await Promise.all([
    repository.pushBlob(signature.envelope, options),
    repository.pushBlob(Buffer.from('{}'), options),
  ]);
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifestType,
    // The older of the two forms, which notation 1.3 writes: every verifier reads it, and so do registries that tell a referrer's type
    // by its configuration.
    config: { mediaType: notationArtifactType, digest: config.digest, size: config.size },
    layers: [{ mediaType: signature.mediaType, digest: layer.digest, size: layer.size }],
    subject: target,
    annotations: {
      [thumbprintAnnotation]: JSON.stringify(signature.thumbprints),
      'org.opencontainers.image.created': now.toISOString().replace(/\.\d+Z$/, 'Z'),
    },
  };
  const pushed = await repository.pushReferrer(Buffer.from(JSON.stringify(manifest)), ociManifestType, options);
  return { manifestDigest: pushed.digest, via: pushed.via };
}
