import { basename, posix } from 'node:path';
import { parseReference } from '../base/distribution/index.ts';
import type { RegistryAccess } from './registries/registry-access.ts';
import { firstAnswer } from './registries/resolve-image.ts';

/** A file on the disk, and the digest of its bytes (`sha256:HEX`). */
export interface FileDigest {
  readonly file: string;
  readonly digest: string;
}

/** An artifact that was judged, and files that should be part of it. */
export interface VerifyFilesInput {
  readonly reference: string;
  /** Digest of the artifact's manifest, as the verdict names it (`manifestDigest`). */
  readonly manifestDigest: string;
  readonly files: readonly FileDigest[];
  readonly registry: RegistryAccess;
  readonly signal?: AbortSignal;
}

/** The result of the comparison of one file. */
export interface FileFinding extends FileDigest {
  /**
   * Whether a layer of the artifact has exactly these bytes, and the name of the file as the last part of its
   * title, if it has one.
   */
  readonly included: boolean;
  /** Title of the layer with these bytes (annotation `org.opencontainers.image.title`), if it has one. */
  readonly title?: string;
}

const titleAnnotation = 'org.opencontainers.image.title';

/**
 * Compares files with the layers of an OCI artifact, by the digests of their bytes and by their names: a
 * registry can serve the artifact of an older release under the tag of a newer one. The manifest is asked for
 * by its digest, so the registry cannot change what is compared. Whether the artifact itself is trusted is
 * the verdict on that digest: ask for it first.
 * @throws PortcullisError of base/distribution when the manifest cannot be fetched
 */
export async function verifyFiles(input: VerifyFilesInput): Promise<readonly FileFinding[]> {
  const { reference, manifestDigest, files, registry, signal } = input;
  const repositories = await registry.repositories(parseReference(reference));
  const { content } = await firstAnswer(repositories, manifestDigest, signal);
  const layers = content.kind === 'manifest' ? content.layers : [];
  return files.map(({ file, digest }) => {
    // Several files of an artifact may have the same bytes.
    const titles = layers
      .filter((layer) => layer.digest === digest)
      .map(({ annotations }) => annotations?.[titleAnnotation]);
    const named = (title: string | undefined): boolean =>
      title === undefined || posix.basename(title) === basename(file);
    const title = titles.find((one) => one !== undefined && named(one)) ?? titles[0];
    return { file, digest, included: titles.some(named), ...(title === undefined ? {} : { title }) };
  });
}
