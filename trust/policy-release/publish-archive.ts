import { dirname, join, resolve } from 'node:path';
import { parseReference } from '../../base/distribution/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import { makeFolderSync, writeFileAtomic } from '../../base/storage/index.ts';
import { emptyType, ociManifestType } from '../evidence/cosign-names.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import { targetName } from '../tuf-client/metadata-names.ts';
import { releaseFailure } from './failure.ts';
import { releasePath } from './release.ts';
import type { PolicyRelease } from './release.ts';

/** The media types of an archive in a registry: one manifest under a tag of its own, so that it stays. */
export const releaseArtifactType = 'application/vnd.portcullis.policy.release.v1';
const releaseMediaType = 'application/vnd.portcullis.policy.release.v1.tar';

/** Where archives are stored, for a collection that is published to some places. */
export function archivePlaces(destinations: readonly string[], releases: string | undefined): string[] {
  if (releases !== undefined) return [releases];
  const service = destinations.find((address) => /^https?:\/\//u.test(address));
  if (service === undefined) return [...destinations];
  throw releaseFailure(
    'TRUST_RELEASE_PLACE',
    service,
    'a trust service stores only signed metadata, and no archives',
  );
}

/**
 * Stores an archive where nodes find it by its signed hash: as a blob of a registry, or in the folder
 * `targets`. Repeating it changes nothing.
 * @throws TRUST_RELEASE_PLACE, and the errors of base/distribution
 */
export async function storeArchive(
  place: string,
  release: Pick<PolicyRelease, 'channel' | 'number' | 'sha256'>,
  archive: Buffer,
  registries: RegistryAccess,
): Promise<void> {
  if (place.startsWith('oci://')) return pushArchive(place, release, archive, registries);
  if (/^[a-z][a-z0-9+.-]*:/iu.test(place))
    throw releaseFailure('TRUST_RELEASE_PLACE', place, 'archives are stored in a registry or a folder');
  const file = join(resolve(place), 'targets', targetName(releasePath(release), release.sha256, true));
  try {
    makeFolderSync(dirname(file), 0o755);
    await writeFileAtomic(file, archive, { mode: 0o644 });
  } catch (error) {
    throw releaseFailure('TRUST_RELEASE_PLACE', file, reasonOf(error), error);
  }
}

async function pushArchive(
  place: string,
  { channel, number }: Pick<PolicyRelease, 'channel' | 'number'>,
  archive: Buffer,
  registries: RegistryAccess,
): Promise<void> {
  const reference = parseReference(place.slice('oci://'.length));
  // A push goes to the last place in the list. That is the origin, unless a mirror replaces it.
  const repository = (await registries.repositories(reference)).at(-1);
  if (repository === undefined) throw releaseFailure('TRUST_RELEASE_PLACE', place, 'no registry serves it');
  const config = await repository.pushBlob(Buffer.from('{}'));
  const layer = await repository.pushBlob(archive);
  const manifest = {
    schemaVersion: 2,
    mediaType: ociManifestType,
    artifactType: releaseArtifactType,
    config: { mediaType: emptyType, digest: config.digest, size: config.size },
    layers: [{ mediaType: releaseMediaType, digest: layer.digest, size: layer.size }],
  };
  const tag = `policy-${channel}-${number}`;
  await repository.pushManifest(Buffer.from(JSON.stringify(manifest)), ociManifestType, { tag });
}
