import { createHash, hash } from 'node:crypto';
import { chmodSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { imageError } from '../failures.ts';
import type { ImageLimits } from '../limits.ts';
import { decompress } from './decompress.ts';
import { fileManifest } from './file-manifest.ts';
import { createLayerWriter } from './layer-writer.ts';
import { layerError } from './layer-error.ts';
import { hasOpenQuestions, settle } from './settle.ts';
import { createTarReader } from './tar-reader.ts';

export interface UnpackRequest {
  /** The compressed layer. */
  readonly blob: string;
  /** A path that does not exist yet: the layer's folder, with `fs` and `files.ndjson` below. */
  readonly staging: string;
  /** `sha256:…` of the uncompressed archive, as the image's configuration says. */
  readonly diffId: string;
  /** True when no layer lies below. */
  readonly lowest: boolean;
  readonly limits: ImageLimits;
}

export interface UnpackedLayer {
  /** True when the archive leaves to the layers below what it means: then it must be stored by chain id. */
  readonly dependent: boolean;
  /** sha256, hex, of `files.ndjson`. */
  readonly manifestSha256: string;
  readonly bytes: number;
  readonly inodes: number;
}

/**
 * Unpacks one layer into a fresh folder, checks its diff id and records every file.
 * @param askLowers roots of the layers below, top-most first; asked only by a layer that depends on them
 * @param cancelled asked between chunks; throwing ends the work
 */
export async function unpackLayer(
  request: UnpackRequest,
  askLowers: () => Promise<readonly string[]>,
  cancelled: () => void,
): Promise<UnpackedLayer> {
  const root = `${request.staging}/fs`;
  const scratch = `${request.staging}/node`;
  mkdirSync(root, { recursive: true, mode: 0o700 });
  chmodSync(root, 0o755);
  const writer = createLayerWriter(root, scratch, request.limits);
  const reader = createTarReader(writer);
  const digest = createHash('sha256');
  const most = unpackedLimit(request);
  let total = 0;
  for await (const chunk of decompress(request.blob)) {
    cancelled();
    total += chunk.length;
    if (total > most) throw layerError('IMAGES_LAYER_TOO_LARGE', request.diffId, `the layer unpacks to more than ${most} bytes`);
    digest.update(chunk);
    reader.push(chunk);
  }
  reader.finish();
  checkDiffId(request.diffId, `sha256:${digest.digest('hex')}`);
  const dependent = hasOpenQuestions(writer.root);
  if (dependent) settle(writer, root, scratch, request.lowest ? [] : await askLowers());
  cancelled();
  writer.finish();
  const manifest = fileManifest(writer.root);
  writeFileSync(`${request.staging}/files.ndjson`, manifest.text, { mode: 0o600 });
  return { dependent, manifestSha256: hash('sha256', manifest.text, 'hex'), bytes: manifest.bytes, inodes: manifest.inodes };
}

function unpackedLimit(request: UnpackRequest): number {
  const { maxLayerBytes, ratioFloorBytes, maxRatio } = request.limits;
  return Math.min(maxLayerBytes, ratioFloorBytes + maxRatio * statSync(request.blob).size);
}

function checkDiffId(expected: string, actual: string): void {
  if (expected === actual) return;
  throw imageError({
    code: 'IMAGES_DIFF_ID_MISMATCH',
    kind: 'data-loss',
    attempted: 'unpack layer',
    on: expected,
    why: `its content has the digest ${actual}, which the image's configuration does not name`,
    fix: 'the image is broken or was tampered with: build and push it again',
  });
}
