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

/** What was found about one file. */
export interface FileFinding extends FileDigest {
  /** Whether a layer of the artifact has exactly these bytes. */
  readonly included: boolean;
  /** Name of that layer (annotation `org.opencontainers.image.title`), if it has one. */
  readonly title?: string;
}

const titleAnnotation = 'org.opencontainers.image.title';

/**
 * Compares files with the layers of an OCI artifact, by the digests of their bytes. The manifest is asked for
 * by its digest, so the registry cannot change what is compared. Whether the artifact itself is trusted is
 * the verdict on that digest: ask for it first.
 * @throws PortcullisError of base/distribution when the manifest cannot be fetched
 */
export async function verifyFiles(input: VerifyFilesInput): Promise<readonly FileFinding[]> {
  const { reference, manifestDigest, files, registry, signal } = input;
  const repositories = await registry.repositories(parseReference(reference));
  const { content } = await firstAnswer(repositories, manifestDigest, signal);
  const layers = new Map(
    (content.kind === 'manifest' ? content.layers : []).map((layer) => [layer.digest, layer]),
  );
  return files.map(({ file, digest }) => {
    const layer = layers.get(digest);
    const title = layer?.annotations?.[titleAnnotation];
    return { file, digest, included: layer !== undefined, ...(title === undefined ? {} : { title }) };
  });
}
