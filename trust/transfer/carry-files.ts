import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { choosePlatform } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { hostPlatform } from '../registries/resolve-image.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { failure, requireNewFile, writeTar } from './archive.ts';
import { present } from './carry.ts';
import { copyChunked } from './chunked-image.ts';
import { copyImage, wantedOf } from './copy-image.ts';
import type { CopiedImage, CopyProgress } from './copy-image.ts';
import { useImageFile } from './image-file.ts';
import { openLayout } from './layout.ts';
import { inTemporary } from './temporary.ts';

/** Carrying images between registries and files that other tools read and write, too. */

/**
 * Pushes an image of an OCI layout or a docker archive to a registry, with the evidence that the layout
 * holds.
 * @throws the errors of useImageFile and copyImage
 */
export function pushImageFile(input: {
  readonly file: string;
  readonly image?: string | undefined;
  readonly to: string;
  readonly registry: RegistryAccess;
  readonly progress?: CopyProgress;
  /** Compresses the layers in parts that can be fetched alone. The image gets another digest. */
  readonly chunked?: boolean;
}): Promise<CopiedImage> {
  const { file, image, registry, progress, chunked = false } = input;
  // A wrong reference is reported before a large archive is read.
  const target = wantedOf(input.to);
  return useImageFile({ file, image }, async ({ repository, digest }) => {
    if (chunked && target.reference.digest !== undefined)
      throw failure(
        'TRUST_ARCHIVE_OTHER_DIGEST',
        file,
        'an image that is compressed in parts gets another digest',
        'name a tag',
      );
    if (target.reference.digest !== undefined && target.reference.digest !== digest)
      throw failure(
        'TRUST_ARCHIVE_OTHER_DIGEST',
        file,
        `its image is ${digest}, not ${target.reference.digest}`,
        'name a tag',
      );
    const to = present((await registry.repositories(target.reference)).at(-1), input.to);
    const copy = chunked ? copyChunked : copyImage;
    return copy({
      from: repository,
      to,
      reference: target.name,
      wanted: digest,
      tag: target.tag,
      ...(progress === undefined ? {} : { progress }),
    });
  });
}

/**
 * Writes an image of a registry, with its evidence, to a tar archive of an OCI layout. `docker load` reads
 * the image of this machine's platform from it, by `manifest.json`.
 * @throws PortcullisError `TRUST_ARCHIVE_EXISTS`, `TRUST_ARCHIVE_NO_FILE`, and the errors of
 * base/distribution
 */
export async function exportReference(input: {
  readonly reference: string;
  readonly file: string;
  readonly registry: RegistryAccess;
  readonly progress?: CopyProgress;
}): Promise<CopiedImage> {
  const { file, registry, progress } = input;
  await requireNewFile(file);
  const { reference, wanted, tag, name } = wantedOf(input.reference);
  const from = present((await registry.repositories(reference))[0], input.reference);
  return inTemporary('portcullis-image-', async (folder) => {
    const layout = await openLayout(folder);
    const copied = await copyImage({
      from,
      to: layout,
      reference: name,
      wanted,
      tag,
      ...(progress === undefined ? {} : { progress }),
    });
    await layout.finish({ children: false });
    const docker = await dockerManifest(
      layout,
      copied.digest,
      reference.digest === undefined ? name : undefined,
    );
    if (docker !== undefined) await writeFile(join(folder, 'manifest.json'), docker);
    await writeTar(folder, file, ['oci-layout', 'index.json', 'manifest.json']);
    return copied;
  });
}

/** Returns `manifest.json` for docker. Undefined: there is no image for this machine's platform. */
async function dockerManifest(
  layout: RegistryRepository,
  digest: string,
  name: string | undefined,
): Promise<string | undefined> {
  let { content } = await layout.manifest(digest);
  if (content.kind === 'index') {
    const own = choosePlatform(content.manifests, hostPlatform());
    if (own === undefined) return undefined;
    ({ content } = await layout.manifest(own));
  }
  if (
    content.kind === 'index' ||
    !/^application\/vnd\.(?:oci\.image\.config\.v1|docker\.container\.image\.v1)\+json$/u.test(
      content.config.mediaType,
    )
  )
    return undefined;
  const pathOf = (blob: { readonly digest: string }): string => `blobs/${blob.digest.replace(':', '/')}`;
  return JSON.stringify([
    {
      Config: pathOf(content.config),
      RepoTags: name === undefined ? null : [name],
      Layers: content.layers.map(pathOf),
    },
  ]);
}
