import type { BlobOrigin } from './blob-sources.ts';
import type { LayerPosition } from './chain-ids.ts';
import type { LayerClaim } from './claimed-layers.ts';
import { hexOf } from './folders.ts';
import type { BlobDescriptor } from './manifest/json.ts';
import { orAborted } from './serial.ts';
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
  while (!deps.checks.isChecked(here)) await orAborted(deps.checks.ensure(here), course.signal);
  const pending: Promise<LayerClaim>[] = [];
  for (const [index, position] of positions.entries()) {
    const descriptor = manifest.layers[index];
    if (descriptor === undefined) throw new Error('there are more diff ids than layers');
    const recorded = deps.layers.claimRecorded(position);
    const below = [...pending].reverse();
    pending.push(
      recorded === undefined
        ? unpackOne(deps, position, descriptor, admitted.origin, below, course).catch(course.fail)
        : Promise.resolve(recorded),
    );
  }
  const settled = await Promise.allSettled(pending);
  // The claims come first, so that a failure releases them.
  for (const result of settled) if (result.status === 'fulfilled') course.layers.push(result.value);
  const failure = settled.find((result) => result.status === 'rejected');
  if (failure !== undefined) throw failure.reason;
}

async function unpackOne(
  deps: PullDeps,
  position: LayerPosition,
  descriptor: BlobDescriptor,
  origin: BlobOrigin,
  below: readonly Promise<LayerClaim>[],
  { fetches, signal }: Course,
): Promise<LayerClaim> {
  // A blob that the record of another layer owns was not fetched; its layer may still be needed in another
  // form.
  const { path, digest, size } = await fetches.claim(descriptor, origin);
  return deps.layers.unpack(position, { path, digest, size }, below, signal);
}
