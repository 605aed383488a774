import { readdir, rm } from 'node:fs/promises';
import { randomUUID } from 'node:crypto';
import type { Logger } from '../../base/log/index.ts';
import { hexOf } from './folders.ts';
import type { ImageLimits } from './limits.ts';
import { chainIds } from './layers.ts';
import type { LayerRow, StoredImage } from './records.ts';
import { exists, sweepLayers } from './sweep.ts';
import type { SweepParts } from './sweep.ts';
import type { UnpackPool } from './unpack/unpack-pool.ts';

export interface ReconcileParts extends SweepParts {
  readonly pool: UnpackPool;
  readonly limits: ImageLimits;
  readonly log: Logger;
}

/** Makes disk and records agree: what no record claims goes, an image whose layers are gone or cannot be repaired goes as well. */
export async function reconcileStore(parts: ReconcileParts, valid: ReadonlySet<string>, unclean: boolean): Promise<void> {
  const { folders, trash, rootfs, records, layers, blobs } = parts;
  for (const id of rootfs.known()) if (!valid.has(id)) await rootfs.remove(id);
  await trash.empty();
  for (const name of await readdir(folders.ingest)) {
    // Claimed by a pull of this run: its files carry this process's id.
    if (!name.includes(`.${process.pid}.`) || !blobs.isClaimed(`sha256:${name.slice(0, 64)}`))
      await rm(`${folders.ingest}/${name}`, { force: true });
  }
  if (!parts.pool.busy()) for (const name of await readdir(folders.staging)) await trash.discard(`${folders.staging}/${name}`);
  for (const name of await readdir(folders.layers)) {
    if (records.layer(name) === undefined && !layers.isClaimed(name) && !rootfs.uses(name))
      await trash.discard(`${folders.layers}/${name}`);
  }
  for (const row of [...records.layers()]) {
    if (!(await exists(`${folders.layers}/${row.folder}/fs`))) await loseLayer(parts, row, 'its folder is missing');
  }
  if (unclean) await repairLayers(parts);
  await sweepLayers(parts);
  for (const name of await readdir(folders.blobs)) await blobs.dropUnowned(`sha256:${name}`);
}

/** After a stop that may have lost writes: every file is compared with the manifest, and a damaged layer is unpacked again. */
async function repairLayers(parts: ReconcileParts): Promise<void> {
  const { records, pool, folders, log } = parts;
  for (const row of [...records.layers()]) {
    const bad = await pool.verify(`${folders.layers}/${row.folder}`, row.manifestSha256);
    if (bad.length === 0) continue;
    log.warn({ layer: row.folder, files: bad }, 'a layer was damaged by an unclean stop and is unpacked again');
    await repairLayer(parts, row).catch((thrown: unknown) => loseLayer(parts, row, String(thrown)));
  }
}

async function repairLayer(parts: ReconcileParts, row: LayerRow): Promise<void> {
  const { folders, pool, trash, limits, records } = parts;
  const staging = `${folders.staging}/${row.folder}.${randomUUID()}`;
  const place = `${folders.layers}/${row.folder}`;
  const lowers = lowersOf(records.list(), row);
  const request = { blob: `${folders.blobs}/${hexOf(row.blobDigest)}`, staging, diffId: row.diffId, lowest: lowers.length === 0, limits };
  try {
    const unpacked = await pool.unpack(request, () => Promise.resolve(lowers.map((folder) => `${folders.layers}/${folder}/fs`)));
    if (unpacked.manifestSha256 !== row.manifestSha256) throw new Error('its blob no longer gives the recorded files');
    await trash.discard(place);
    await pool.publish({ root: folders.root, moves: [{ kind: 'rename', from: staging, to: place }], folders: [folders.layers] });
  } catch (thrown) {
    await trash.discard(staging);
    throw thrown;
  }
}

/** The layer folders below, top-most first, as an image that has the layer lists them. A dependent layer has the same ones in all. */
function lowersOf(images: readonly StoredImage[], row: LayerRow): readonly string[] {
  for (const image of images) {
    const at = image.layers.findIndex((layer) => layer.folder === row.folder);
    if (at < 0) continue;
    const position = chainIds(image.layers.map((layer) => layer.diffId))[at];
    if (row.dependent && hexOf(position?.chainId ?? '') !== row.folder) continue;
    return image.layers
      .slice(0, at)
      .map((layer) => layer.folder)
      .reverse();
  }
  return [];
}

/** Images that need the layer go with it; a kubelet pulls them again. */
async function loseLayer(parts: ReconcileParts, row: LayerRow, why: string): Promise<void> {
  const { records, log, trash, folders } = parts;
  for (const image of records.list()) {
    if (!image.layers.some((layer) => layer.folder === row.folder)) continue;
    log.error(
      { image: image.id, names: image.names.map(({ name }) => name), layer: row.folder, why },
      'an image lost a layer and was removed: pull it again',
    );
    await records.removeImage(image.id);
  }
  await records.removeLayers([row.folder]);
  await trash.discard(`${folders.layers}/${row.folder}`);
}
