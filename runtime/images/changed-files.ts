import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { makeFolder } from '../../base/storage/index.ts';
import type { StoreFolders } from './folders.ts';
import type { ImageLimits } from './limits/limits.ts';
import type { LayerPool } from './layer-workers/layer-pool.ts';
import type { LayerRoots } from './layer-roots.ts';

/** Dependencies of the writable layers that are filled before their container exists. */
export interface ChangedFilesDeps {
  readonly folders: Pick<StoreFolders, 'rootfs'>;
  readonly limits: ImageLimits;
  readonly pool: Pick<LayerPool, 'unpack'>;
  readonly roots: Pick<LayerRoots, 'use'>;
}

/**
 * Unpacks an archive into the writable layer of a container, as the archive of a layer above the layers of
 * its image: with the same limits, and with whiteouts for deleted files. Call it before the root file system
 * is mounted, and remove the root file system after a failure.
 * @param layers layer folders of the image, lowest first
 * @param archive path of a file that nobody else changes
 * @throws the errors of an unpacking
 */
export async function fillWritableLayer(
  { folders, limits, pool, roots }: ChangedFilesDeps,
  containerId: string,
  layers: readonly string[],
  archive: string,
): Promise<void> {
  const folder = `${folders.rootfs}/${containerId}`;
  const staging = `${folder}/changes`;
  await makeFolder(folder);
  const digest = createHash('sha256');
  await pipeline(createReadStream(archive), digest);
  const diffId = `sha256:${digest.digest('hex')}`;
  await roots.use([...layers].reverse(), async (lowers) => {
    const request = { blob: archive, staging, diffId, lowest: false, limits };
    await pool.unpack(request, () => Promise.resolve(lowers), { form: 'folder' });
  });
  await rename(`${staging}/fs`, `${folder}/upper`);
  await rm(staging, { recursive: true, force: true });
}
