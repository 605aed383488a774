import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { digestOf, mediaTypes, orAbsent, parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { openRegistries } from '../../trust/index.ts';

/** Type of the artifact that holds the files of a release. */
export const releaseArtifactType = 'application/vnd.portcullis.release.v1';

/**
 * Pushes files to a registry as one OCI artifact, each as a layer with its path as the title (OCI image-spec,
 * "Guidelines for artifact usage"). The same files give the same manifest. Nothing is signed: `portcullis
 * sign` and `attest` accept its reference like that of an image. A tag that points to other content is not
 * overwritten.
 * @param folder the folder of the release
 * @param paths paths of the files in it
 * @returns the digest of the manifest
 * @throws Error when the tag means other content, before or after; PortcullisError of base/distribution, and
 *   the system's error when a file cannot be read
 */
export async function publishFiles(
  reference: string,
  folder: string,
  paths: readonly string[],
): Promise<string> {
  const tag = parseReference(reference).tag;
  const { bytes, blobs } = releaseManifest(folder, paths);
  const digest = digestOf(bytes);
  await requireTag(reference, digest, 'free');
  await inRepository(reference, async (repository) => {
    await repository.pushBlob(emptyConfig);
    for (const { path, digest: expected } of blobs) {
      const pushed = await repository.pushBlob(readFileSync(join(folder, path)));
      if (pushed.digest !== expected) throw new Error(`publish ${reference}: ${path} changed meanwhile`);
    }
    await repository.pushManifest(bytes, mediaTypes.ociManifest, tag === undefined ? {} : { tag });
  });
  await requireTag(reference, digest, 'written');
  return digest;
}

/**
 * Compares the content of a tag with the content of a release. Registries have no way to write a tag only if
 * it is free (OCI distribution-spec, "Pushing Manifests"), so a release asks before and after it writes.
 * @param expected `free`: the tag may also be absent
 * @throws Error when the tag means other content; PortcullisError of base/distribution
 */
export async function requireTag(
  reference: string,
  digest: string,
  expected: 'free' | 'written',
): Promise<void> {
  const { tag } = parseReference(reference);
  if (tag === undefined) return;
  const found = await inRepository(reference, (repository) => orAbsent(repository.resolve(tag)));
  if (found?.digest === digest || (found === undefined && expected === 'free')) return;
  throw new Error(
    expected === 'free'
      ? `publish ${reference}: it exists and points to ${found?.digest}, but this release is ${digest}; ` +
          'a published version never changes: release a new version'
      : `publish ${reference}: the tag points to ${found?.digest ?? 'nothing'} after ${digest} was pushed; ` +
          'somebody else published or deleted it at the same time: find out who, and publish a new version',
  );
}

/** Returns the digest of the manifest that {@link publishFiles} pushes. */
export const releaseDigest = (folder: string, paths: readonly string[]): string =>
  digestOf(releaseManifest(folder, paths).bytes);

const emptyConfig = Buffer.from('{}');

/** Returns the manifest of a release, and the blobs that it names. */
function releaseManifest(
  folder: string,
  paths: readonly string[],
): { readonly bytes: Buffer; readonly blobs: readonly { readonly path: string; readonly digest: string }[] } {
  const layers = paths.map((path) => {
    const content = readFileSync(join(folder, path));
    return {
      mediaType: 'application/octet-stream',
      digest: digestOf(content),
      size: content.length,
      annotations: { 'org.opencontainers.image.title': path },
    };
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    artifactType: releaseArtifactType,
    config: {
      mediaType: 'application/vnd.oci.empty.v1+json',
      digest: digestOf(emptyConfig),
      size: emptyConfig.length,
    },
    layers,
  };
  const blobs = layers.map(({ digest }, index) => ({ path: paths[index] ?? '', digest }));
  return { bytes: Buffer.from(JSON.stringify(manifest)), blobs };
}

async function inRepository<T>(
  reference: string,
  act: (repository: RegistryRepository) => Promise<T>,
): Promise<T> {
  const registry = await openRegistries({ mirrors: [], insecureHosts: [] });
  try {
    const repository = (await registry.repositories(parseReference(reference))).at(-1);
    if (repository === undefined) throw new Error(`no registry serves ${reference}`);
    return await act(repository);
  } finally {
    await registry.close();
  }
}
