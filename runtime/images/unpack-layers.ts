import type { LayerPosition } from './chain-ids.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { placeOf } from './blob-sources.ts';
import { hexOf } from './folders.ts';
import { isIndexOf } from './lazy-layers.ts';
import { stageLayer } from './lazy/stage-layer.ts';
import type { StageLayer } from './layers.ts';
import { firstAnswer } from './resolve.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import { orAborted } from '../../base/queues/index.ts';
import type { Admitted, Course, PullDeps } from './pull-course.ts';

/**
 * Unpacks the layers of an admitted image. Begins with the lowest layer; a layer that depends on the layers
 * below gets their claims.
 */
export async function unpackLayers(
  deps: PullDeps,
  positions: readonly LayerPosition[],
  admitted: Admitted,
  course: Course,
): Promise<void> {
  const { manifest } = admitted.resolved;
  // A layer that is already present is reported as part of a complete image, and layers above it are unpacked
  // on it.
  const here = positions.flatMap(({ diffId, chainId }) => [hexOf(diffId), hexOf(chainId)]);
  for (;;) {
    while (!deps.checks.isChecked(here)) await orAborted(deps.checks.ensure(here), course.signal);
    // A pull without a signed index gets complete layers. A pull with an index uses no file that another
    // index describes, because the policy may not trust the signer of the other index for this image.
    const hollow = here.filter((folder) => {
      const row = deps.records.layer(folder);
      return row?.lazy === true && admitted.index?.layers.some((layer) => isIndexOf(layer, row)) !== true;
    });
    if (hollow.length === 0) break;
    await deps.lazy.whole(hollow, course.signal);
  }
  const pending: Promise<LayerClaim>[] = [];
  for (const [index, position] of positions.entries()) {
    const descriptor = manifest.layers[index];
    if (descriptor === undefined) throw new Error('there are more diff ids than layers');
    const recorded = deps.layers.claimRecorded(position);
    const below = [...pending].reverse();
    pending.push(
      recorded === undefined
        ? unpackOne(deps, position, descriptor, admitted, index, below, course).catch(course.fail)
        : Promise.resolve(recorded),
    );
  }
  const settled = await Promise.allSettled(pending);
  // The claims are added first, so that a failure releases them.
  for (const result of settled) if (result.status === 'fulfilled') course.layers.push(result.value);
  const failure = settled.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

async function unpackOne(
  deps: PullDeps,
  position: LayerPosition,
  descriptor: BlobDescriptor,
  { origin, index }: Pick<Admitted, 'origin' | 'index'>,
  at: number,
  below: readonly Promise<LayerClaim>[],
  { fetches, signal }: Course,
): Promise<LayerClaim> {
  const chunks = index?.layers[at];
  const from = placeOf(origin);
  if (chunks !== undefined) {
    const stage: StageLayer = (staging, ending) =>
      stageLayer(
        staging,
        chunks,
        async (blob, aborted) =>
          (await firstAnswer(origin.ordered, blob.digest, aborted, (place) => place.blob(blob, aborted)))
            .value,
        (fd, path, record) => deps.pool.check(fd, path, record),
        ending,
      );
    const { digest, size } = descriptor;
    return deps.layers.unpack(position, { path: '', digest, size, from }, [], signal, stage);
  }
  // A blob that belongs to the record of another layer was not fetched; its layer may still be needed in
  // another form.
  const { path, digest, size } = await fetches.claim(descriptor, origin);
  return deps.layers.unpack(position, { path, digest, size, from }, below, signal);
}
