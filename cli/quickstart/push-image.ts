import { parseJson } from '../../base/json/index.ts';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import type { Image } from './image.ts';

export async function pushImage(repository: RegistryRepository, image: Image, tag: string): Promise<void> {
  await repository.pushBlob(image.config);
  await repository.pushBlob(image.layer);
  await repository.pushManifest(image.manifest, mediaTypes.ociManifest, { tag });
}

/**
 * Attaches to `toDigest` what was signed for `fromDigest`: the attack of a user who can write to the registry
 * but has no key.
 */
export async function transplantSignature(
  repository: RegistryRepository,
  fromDigest: string,
  toDigest: string,
): Promise<number> {
  const [subject, { descriptors }] = await Promise.all([
    repository.resolve(toDigest),
    repository.referrers(fromDigest),
  ]);
  for (const descriptor of descriptors) {
    const { bytes } = await repository.manifest(descriptor);
    const manifest = parseJson(Buffer.from(bytes).toString()) as Record<string, unknown>;
    manifest['subject'] = { mediaType: subject.mediaType, digest: subject.digest, size: subject.size };
    await repository.pushReferrer(Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest);
  }
  return descriptors.length;
}
