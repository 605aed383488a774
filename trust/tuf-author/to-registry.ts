import type { RegistryRepository } from '../../base/distribution/index.ts';
import { emptyType, ociManifestType } from '../evidence/cosign-names.ts';
import { ociSource, titleAnnotation, tufArtifactType, tufMetadataType } from '../tuf-client/oci-source.ts';
import { consistentName } from './destination.ts';
import type { Destination } from './destination.ts';

/**
 * Publishes to a tag in a registry: one manifest whose layers are all files of the collection. A registry
 * alone can thus serve the collection, and a publish is one push of a tag, which readers see completely or
 * not at all. TUF dialect only.
 */
export function registryDestination(repository: RegistryRepository, tag: string): Destination {
  return {
    address: `oci://${repository.host}/${repository.repository}:${tag}`,
    dialects: ['tuf'],
    source: () => ociSource([repository], tag),
    async publish(publications) {
      const files = publications.flatMap(({ dialect, all }) => (dialect === 'tuf' ? all : []));
      const config = await repository.pushBlob(Buffer.from('{}'));
      const layers = [];
      for (const file of files) {
        const { digest, size } = await repository.pushBlob(file.bytes);
        layers.push({
          mediaType: tufMetadataType,
          digest,
          size,
          annotations: { [titleAnnotation]: consistentName(file) },
        });
      }
      const manifest = {
        schemaVersion: 2,
        mediaType: ociManifestType,
        artifactType: tufArtifactType,
        config: { mediaType: emptyType, digest: config.digest, size: config.size },
        layers,
      };
      await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), ociManifestType, { tag });
    },
    close: () => Promise.resolve(),
  };
}
