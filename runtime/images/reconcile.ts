import { access, readdir, rm } from 'node:fs/promises';
import type { LayerChecks } from './layer-checks.ts';
import { isReplaced } from './layer-places.ts';
import type { SweepParts } from './sweep.ts';
import type { UnpackPool } from './unpack/unpack-pool.ts';

export interface ReconcileParts extends SweepParts {
  readonly pool: Pick<UnpackPool, 'busy'>;
  readonly checks: Pick<LayerChecks, 'doubt'>;
  readonly sweep: () => Promise<void>;
}

/** Makes disk and records agree: what no record claims goes. What is recorded is not read here: a start does not wait for it. */
export async function reconcileStore(parts: ReconcileParts, valid: ReadonlySet<string>): Promise<void> {
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
    if (records.layer(name) === undefined && !layers.isClaimed(name) && !rootfs.uses(name) && !isReplaced(name))
      await trash.discard(`${folders.layers}/${name}`);
  }
  for (const { folder } of records.layers()) {
    // Missing, or not to be looked at: restored from its blob before it is used.
    await access(`${folders.layers}/${folder}/fs`).catch(() => {
      parts.checks.doubt(folder);
    });
  }
  await parts.sweep();
  for (const name of await readdir(folders.blobs)) await blobs.dropUnowned(`sha256:${name}`);
}
