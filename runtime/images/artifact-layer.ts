import { randomUUID } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { writeArtifactArchive } from './artifact-archive.ts';
import type { BlobClaim, BlobStore } from './blobs.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { hexOf } from './folders.ts';
import type { StoreFolders } from './folders.ts';
import type { LayerChecks } from './layer-checks.ts';
import type { LayerStore } from './layers.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import type { ImageRecords } from './records.ts';
import type { ResolvedImage } from './resolve.ts';
import { orAborted } from '../../base/queues/index.ts';
import { notDurable } from './store-sync.ts';
import type { StoreSync } from './store-sync.ts';

/** The parts of the image store that the layer of an artifact needs. */
export interface ArtifactDeps {
  readonly folders: StoreFolders;
  readonly records: Pick<ImageRecords, 'byId' | 'hasBlob'>;
  readonly blobs: Pick<BlobStore, 'claim'>;
  readonly layers: Pick<LayerStore, 'claimRecorded' | 'unpack'>;
  readonly checks: Pick<LayerChecks, 'isChecked' | 'ensure'>;
  readonly sync: Pick<StoreSync, 'era'>;
}

/** The place of the archives that are written here. */
const ownFiles = 'files of artifacts';

/** The claims of a pull on blobs, by digest. */
type BlobClaims = Map<string, BlobClaim>;

type Resolved = Pick<ResolvedImage, 'manifest' | 'manifestDigest'>;

/**
 * Returns the id of an image: the digest of its configuration. Many artifacts have the same, empty
 * configuration, so the id of an artifact is the digest of its manifest.
 */
export function imageIdOf({ manifest, manifestDigest }: Resolved): string {
  return manifest.artifact === undefined ? manifest.config.digest : manifestDigest;
}

/**
 * Returns the blobs that a pull has to fetch: those of no recorded layer, and none of a recorded artifact.
 */
export function absentBlobs(
  { records }: Pick<ArtifactDeps, 'records'>,
  { manifest, manifestDigest }: Resolved,
): readonly BlobDescriptor[] {
  if (manifest.artifact !== undefined)
    return records.byId(manifestDigest) === undefined ? manifest.layers : [];
  return manifest.layers.filter((layer) => !records.hasBlob(layer.digest));
}

/**
 * Claims the one layer of an artifact, which contains all of its files. The layer is unpacked from an archive
 * that is written here, and the archive is kept as the blob of the layer. So everything that applies to the
 * layers of images also applies to it: its limits, the checks after an unclean stop, user namespaces and
 * removal.
 * @param claims receives the claim on the archive
 * @param fetch adds the blobs of the files to `claims`; they are released when the archive has their bytes
 */
export async function claimArtifactLayer(
  deps: ArtifactDeps,
  resolved: Resolved,
  claims: BlobClaims,
  fetch: () => Promise<void>,
  signal: AbortSignal,
): Promise<LayerClaim> {
  const diffId = deps.records.byId(resolved.manifestDigest)?.layers[0]?.diffId;
  const recorded = diffId === undefined ? undefined : await claimWhole(deps, diffId, signal);
  if (recorded !== undefined) return recorded;
  await fetch();
  const archive = await claimArchive(deps, resolved, claims, signal);
  claims.set(archive.digest, archive);
  const { digest } = archive;
  const layer = await claimWhole(deps, digest, signal);
  const blob = { path: archive.path, digest, size: archive.size, from: ownFiles };
  return layer ?? deps.layers.unpack({ diffId: digest, chainId: digest }, blob, [], signal);
}

/** Claims a recorded layer once it is known to be whole; undefined when there is none. */
async function claimWhole(
  { checks, layers }: ArtifactDeps,
  diffId: string,
  signal: AbortSignal,
): Promise<LayerClaim | undefined> {
  const folder = [hexOf(diffId)];
  while (!checks.isChecked(folder)) await orAborted(checks.ensure(folder), signal);
  return layers.claimRecorded({ diffId, chainId: diffId });
}

/** Writes the archive, claims it as a blob, and releases the blobs of the files. */
async function claimArchive(
  { folders, blobs, sync }: ArtifactDeps,
  { manifest }: Resolved,
  claims: BlobClaims,
  signal: AbortSignal,
): Promise<BlobClaim> {
  const begun = sync.era();
  const files = manifest.layers.map(({ digest, size }, index) => {
    const blob = claims.get(digest)?.path;
    const path = manifest.artifact?.paths[index];
    if (blob === undefined || path === undefined) throw new Error('a file of the artifact was not fetched');
    return { path, blob, size };
  });
  // The name begins with the name of a blob that this pull has claimed: the clean-up at a start removes all
  // other files.
  const scratch = `${folders.ingest}/${hexOf(manifest.layers[0]?.digest ?? '')}.${process.pid}.${randomUUID()}`;
  try {
    const { digest, size } = await writeArtifactArchive(files, scratch, signal);
    const take = async (path: string): Promise<void> => {
      if (sync.era() !== begun)
        throw notDurable(folders.root, 'writes were lost while the archive of the artifact was written');
      await rename(scratch, path);
    };
    const archive = await blobs.claim(
      { digest, size, mediaType: 'application/vnd.oci.image.layer.v1.tar' },
      { from: ownFiles, sources: [take], isLocal: true },
      signal,
    );
    await releaseFiles(manifest.layers, digest, claims);
    return archive;
  } finally {
    // Another pull may have claimed the same archive first.
    await rm(scratch, { force: true });
  }
}

async function releaseFiles(
  files: readonly BlobDescriptor[],
  archive: string,
  claims: BlobClaims,
): Promise<void> {
  for (const { digest } of files) {
    const claim = claims.get(digest);
    if (claim === undefined || digest === archive) continue;
    claims.delete(digest);
    await claim.release();
  }
}
