import { createHash } from 'node:crypto';
import { chmodSync, mkdirSync, rmSync, statSync, unlinkSync } from 'node:fs';
import { imageError } from '../limits/failures.ts';
import type { ImageLimits } from '../limits/limits.ts';
import { decompress } from './decompress.ts';
import { writeFileManifest } from './file-manifest.ts';
import { createLayerBudget } from './layer-budget.ts';
import type { LayerBudget } from './layer-budget.ts';
import { createLayerWriter } from './layer-writer.ts';
import type { LayerWriter } from './layer-writer.ts';
import { layerError } from './layer-error.ts';
import { folderForm, pathAt } from './settle-folder-form.ts';
import { dropHiddenWhiteouts, hasOpenQuestions, settle } from './settle.ts';
import { createTarReader } from './tar-reader.ts';
import type { WorkClock } from './work-clock.ts';

export interface UnpackRequest {
  /** The compressed layer. */
  readonly blob: string;
  /** A path that does not exist yet: the layer's folder, with `fs` and `files.ndjson` below. */
  readonly staging: string;
  /** `sha256:…` of the uncompressed archive, as in the image's configuration. */
  readonly diffId: string;
  /** True for the lowest layer. */
  readonly lowest: boolean;
  readonly limits: ImageLimits;
}

export interface UnpackedLayer {
  /**
   * True when the content of the archive depends on the layers below: the layer must then be stored by chain
   * id.
   */
  readonly dependent: boolean;
  /** sha256 of `files.ndjson`, in hex. */
  readonly manifestSha256: string;
  readonly bytes: number;
  readonly inodes: number;
  /** The digest, in hex, by which fs-verity knows a layer file; undefined: nothing of the layer has it. */
  readonly verity?: string;
}

/**
 * Unpacks one layer into a fresh folder, checks its diff id and records every file.
 * @param askLowers returns the roots of the layers below, top-most first; called only for a layer that
 * depends on them, with its number of entries
 * @param clock counts the time of the work, and ends it
 * @param signal ends the work while it waits for bytes
 */
export async function unpackLayer(
  request: UnpackRequest,
  askLowers: (entries: number) => Promise<readonly string[]>,
  clock: WorkClock,
  signal: AbortSignal,
): Promise<UnpackedLayer> {
  const { staging } = request;
  const root = `${staging}/fs`;
  const scratch = `${staging}/node`;
  const content = clock.turn(() => {
    // A Worker that was ended during this layer may have left it.
    rmSync(staging, { recursive: true, force: true });
    mkdirSync(root, { recursive: true, mode: 0o700 });
    chmodSync(root, 0o755);
    return decompress(request.blob, signal);
  });
  const budget = createLayerBudget(request.limits, (progress) => {
    clock.goOn(progress);
  });
  const writer = createLayerWriter(root, scratch, budget);
  const reader = createTarReader(writer);
  const digest = createHash('sha256');
  const most = unpackedLimit(request);
  let total = 0;
  for await (const chunk of content) {
    clock.turn(() => {
      budget.goOn();
      total += chunk.length;
      if (total > most)
        throw layerError(
          'IMAGES_LAYER_TOO_LARGE',
          request.diffId,
          `the layer unpacks to more than ${most} bytes`,
        );
      digest.update(chunk);
      reader.push(chunk);
    });
  }
  const dependent = clock.turn(() => {
    reader.finish();
    checkDiffId(request.diffId, `sha256:${digest.digest('hex')}`);
    return hasOpenQuestions(writer.root, budget);
  });
  const lowers = dependent && !request.lowest ? await askLowers(budget.progress.entries) : [];
  return clock.turn(() => {
    if (dependent) settle(folderForm(writer, root, scratch, budget), budget, lowers);
    dropHiddenWhiteouts(writer.root, budget, (place) => unlinkSync(pathAt(root, place)));
    return finish(writer, `${staging}/files.ndjson`, dependent, budget);
  });
}

function finish(
  writer: LayerWriter,
  manifest: string,
  dependent: boolean,
  budget: LayerBudget,
): UnpackedLayer {
  budget.goOn();
  writer.finish();
  const { sha256, bytes, inodes } = writeFileManifest(writer.root, manifest, budget);
  return { dependent, manifestSha256: sha256, bytes, inodes };
}

/** Returns the maximum size of the archive of a layer, in bytes. */
export function unpackedLimit(request: Pick<UnpackRequest, 'blob' | 'limits'>): number {
  const { maxLayerBytes, ratioFloorBytes, maxRatio } = request.limits;
  return Math.min(maxLayerBytes, ratioFloorBytes + maxRatio * statSync(request.blob).size);
}

/** @throws IMAGES_DIFF_ID_MISMATCH */
export function checkDiffId(expected: string, actual: string): void {
  if (expected === actual) return;
  throw imageError({
    code: 'IMAGES_DIFF_ID_MISMATCH',
    kind: 'data-loss',
    attempted: 'unpack layer',
    on: expected,
    why: `its content has the digest ${actual}, which the image's configuration does not name`,
    fix: 'the image is damaged or was changed by an attacker: build and push it again',
  });
}
