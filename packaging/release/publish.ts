import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { mediaTypes, parseReference } from '../../base/distribution/index.ts';
import { openRegistries } from '../../trust/index.ts';

/** Type of the artifact that holds the files of a release. */
export const releaseArtifactType = 'application/vnd.portcullis.release.v1';

/**
 * Pushes files to a registry as one OCI artifact, each as a layer with its name (OCI image-spec, "Guidelines
 * for artifact usage"). The same files give the same manifest. Nothing is signed: `portcullis sign` and
 * `attest` take the reference as that of an image.
 * @returns the digest of the manifest
 * @throws PortcullisError of base/distribution, and the system's error when a file cannot be read
 */
export async function publishFiles(reference: string, files: readonly string[]): Promise<string> {
  const parsed = parseReference(reference);
  const registry = await openRegistries({ mirrors: [], insecureHosts: [] });
  try {
    const repository = (await registry.repositories(parsed)).at(-1);
    if (repository === undefined) throw new Error(`no registry serves ${reference}`);
    const empty = await repository.pushBlob(Buffer.from('{}'));
    const layers = [];
    for (const file of files)
      layers.push({
        ...(await repository.pushBlob(readFileSync(file))),
        mediaType: 'application/octet-stream',
        annotations: { 'org.opencontainers.image.title': basename(file) },
      });
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: releaseArtifactType,
      config: { ...empty, mediaType: 'application/vnd.oci.empty.v1+json' },
      layers,
    };
    const bytes = Buffer.from(JSON.stringify(manifest));
    const tag = parsed.tag === undefined ? {} : { tag: parsed.tag };
    return (await repository.pushManifest(bytes, mediaTypes.ociManifest, tag)).digest;
  } finally {
    await registry.close();
  }
}
