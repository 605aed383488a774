import type { Descriptor, ImageManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { EvidenceItem } from '../findings/types.ts';
import type { KnownAbsent } from './negative-cache.ts';
import { packBytes } from './byte-packing.ts';
import { isBadContent, isNotFound } from './collection.ts';
import type { Collector, GatheringContext, LeafRequirement } from './collector.ts';
import type { Collection } from './collection.ts';

/** Where an item was found, before its type is known. */
type Place = Pick<EvidenceItem, 'attachedTo' | 'foundBy' | 'servedBy' | 'manifestDigest'>;

/** The search for evidence of one digest at one repository. */
interface Search {
  readonly repository: RegistryRepository;
  readonly digest: string;
  readonly collectors: readonly Collector[];
  readonly wanted: readonly LeafRequirement[];
  readonly collection: Collection;
  readonly negativeCache: KnownAbsent | undefined;
}

/**
 * Collects the evidence that the collectors want for these digests at one repository. Makes one listing and
 * one fetch of each tag per digest.
 */
export async function collectFrom(
  repository: RegistryRepository,
  digests: readonly string[],
  collectors: readonly Collector[],
  { input, wanted, collection }: GatheringContext,
): Promise<void> {
  const at = (where: Collector['at']): readonly Collector[] =>
    collectors.filter((collector) => collector.at === where);
  const search = (digest: string, chosen: readonly Collector[]): Search => ({
    repository,
    digest,
    collectors: chosen,
    wanted,
    collection,
    negativeCache: input.negativeCache,
  });
  await Promise.all(
    digests.flatMap((digest) => [
      collectReferrers(search(digest, at('referrers'))),
      collectTag(search(digest, at('sig')), 'sig'),
      collectTag(search(digest, at('att')), 'att'),
    ]),
  );
}

/** Collects the referrers of a digest (distribution-spec, "Listing Referrers" and its fallback tag). */
async function collectReferrers(search: Search): Promise<void> {
  const { repository, digest, collectors, wanted, collection, negativeCache } = search;
  const source = `${repository.host}/${repository.repository}, referrers of ${digest}`;
  if (collectors.length === 0 || negativeCache?.knows(source) === true) return;
  try {
    // The types are filtered here: registries may ignore the filter of a request, and one listing serves
    // every collector.
    const { via, descriptors, complete } = await repository.referrers(digest, {
      limit: collection.limits.listing,
      signal: collection.signal,
    });
    const foundBy = via === 'referrers' ? 'referrers' : `fallback-tag ${digest.replace(':', '-')}`;
    if (!complete) collection.overflow(source);
    if (complete && descriptors.length === 0) negativeCache?.note(source);
    else negativeCache?.forget(source);
    const chosen = distinct(descriptors)
      .map((descriptor) => ({
        descriptor,
        by: collectors.filter((one) => one.wants?.(descriptor, wanted) ?? true),
      }))
      .filter(({ by }) => by.length > 0)
      // The main thread reads each manifest, so that their sizes count too.
      .filter(({ descriptor }) => collection.take(source) && collection.reserve(descriptor.size, source));
    await inParallel(chosen, collection.limits.parallel, ({ descriptor, by }) =>
      openReferrer({ ...search, collectors: by }, descriptor, {
        attachedTo: digest,
        foundBy,
        servedBy: repository.host,
        manifestDigest: descriptor.digest,
      }),
    );
  } catch (error) {
    if (!isNotFound(error)) collection.failed(source, error);
  }
}

async function openReferrer(search: Search, descriptor: Descriptor, place: Place): Promise<void> {
  const { repository, collection, collectors, wanted } = search;
  let manifest: ImageManifest;
  try {
    const { content } = await repository.manifest(descriptor, collection.signal);
    if (content.kind !== 'manifest') return;
    manifest = content;
  } catch (error) {
    // It is only known that some collector wanted the manifest. It is recorded once, under the first type
    // that it may have.
    record(search, collectors[0], place, undefined, error);
    return;
  }
  for (const collector of collectors) {
    const layers = collector.layers?.(manifest, wanted) ?? [];
    if (layers.length > 0 && manifest.subject?.digest !== place.attachedTo) {
      const why = `its manifest says that it belongs to ${manifest.subject?.digest ?? 'nothing'}, but it was listed for ${place.attachedTo}`;
      collection.add(unusable(collector, place, layers[0], why));
    } else {
      for (const layer of layers) await addLayer(search, collector, place, layer, manifest);
    }
  }
}

/** No registry has a longer tag (distribution-spec, "Pulling manifests"): none can be of a sha512 digest. */
const mostTagLength = 128;

/**
 * Collects the manifest under `sha256-<hex>.sig` or `.att`, whose layers are signatures or attestations
 * (cosign, specs/SIGNATURE_SPEC.md).
 */
async function collectTag(search: Search, suffix: 'sig' | 'att'): Promise<void> {
  const { repository, digest, collectors, wanted, collection, negativeCache } = search;
  const tag = `${digest.replace(':', '-')}.${suffix}`;
  const source = `${repository.host}/${repository.repository}:${tag}`;
  if (collectors.length === 0 || negativeCache?.knows(source) === true) return;
  if (tag.length > mostTagLength) return;
  const place: Place = {
    attachedTo: digest,
    foundBy: `tag ${tag}`,
    servedBy: repository.host,
    manifestDigest: '',
  };
  try {
    const { content, digest: manifestDigest } = await repository.manifest(tag, collection.signal);
    negativeCache?.forget(source);
    if (content.kind !== 'manifest') return;
    const pairs = collectors.flatMap((collector) =>
      (collector.layers?.(content, wanted) ?? []).map((layer) => ({ collector, layer })),
    );
    const chosen = pairs.filter(() => collection.take(source));
    await inParallel(chosen, collection.limits.parallel, ({ collector, layer }) =>
      addLayer(search, collector, { ...place, manifestDigest }, layer, content),
    );
  } catch (error) {
    if (isNotFound(error)) negativeCache?.note(source);
    else record(search, collectors[0], place, undefined, error, source);
  }
}

async function addLayer(
  search: Search,
  collector: Collector,
  place: Place,
  layer: Descriptor,
  manifest: ImageManifest,
): Promise<void> {
  const { repository, collection, wanted } = search;
  try {
    const bytes = await collection.blob(repository, layer, collector.large?.(wanted), sourceOf(place));
    const judgement = bytes === undefined ? 'drop' : (collector.judge?.(bytes, wanted) ?? 'keep');
    if (bytes === undefined || judgement === 'drop') return;
    const annotations = collector.annotations?.(layer, manifest) ?? {};
    if (!collection.reserve(Buffer.byteLength(JSON.stringify(annotations)), sourceOf(place))) return;
    const subjectBytes =
      judgement === 'with-subject' ? await subjectOf(repository, place, collection) : undefined;
    collection.add({
      kind: collector.kind,
      ...place,
      blobDigest: layer.digest,
      mediaType: layer.mediaType,
      annotations,
      ...(collector.large === undefined ? { bytes: base64(bytes) } : await keptApart(layer.digest, bytes)),
      ...(subjectBytes === undefined ? {} : { subjectBytes }),
    });
  } catch (error) {
    record(search, collector, place, layer, error);
  }
}

/** Large content is stored apart, so that a process that keeps evidence in memory need not keep it. */
async function keptApart(
  digest: string,
  bytes: Uint8Array,
): Promise<Pick<EvidenceItem, 'bytes' | 'packed' | 'apart'>> {
  const kept = await packBytes(bytes);
  return kept.packed === undefined || !digest.startsWith('sha256:') ? kept : { ...kept, apart: true };
}

async function subjectOf(
  repository: RegistryRepository,
  place: Place,
  collection: Collection,
): Promise<string | undefined> {
  const { bytes } = await repository.manifest(place.attachedTo, collection.signal);
  const kept =
    bytes.byteLength <= collection.limits.subjectBytes &&
    collection.reserve(bytes.byteLength, sourceOf(place));
  return kept ? base64(bytes) : undefined;
}

/**
 * Records a failure: an answer that can never count becomes an item with its problem; a missing answer
 * becomes an unreachable source.
 */
function record(
  { collection, wanted }: Search,
  collector: Collector | undefined,
  place: Place,
  layer: Descriptor | undefined,
  error: unknown,
  source = `${sourceOf(place)}, ${layer?.digest ?? place.manifestDigest}`,
): void {
  if (collector !== undefined && isBadContent(error))
    collection.add(
      unusable(
        collector,
        place,
        layer,
        `it could not be read: ${reasonOf(error)}${remedy(error, collector, wanted)}`,
      ),
    );
  else collection.failed(source, error);
}

function remedy(error: unknown, collector: Collector, wanted: readonly LeafRequirement[]): string {
  const large =
    isPortcullisError(error) && error.code === 'DISTRIBUTION_TOO_LARGE'
      ? collector.large?.(wanted)
      : undefined;
  return large === undefined ? '' : ` (raise ${large.setting})`;
}

function unusable(
  collector: Collector,
  place: Place,
  layer: Descriptor | undefined,
  problem: string,
): EvidenceItem {
  const facts =
    layer === undefined
      ? { blobDigest: '', mediaType: '' }
      : { blobDigest: layer.digest, mediaType: layer.mediaType };
  return { kind: collector.kind, ...place, ...facts, annotations: {}, problem };
}

function sourceOf(place: Place): string {
  return `${place.servedBy}, ${place.foundBy}`;
}

/** Removes duplicates, because a list may name one manifest twice. */
function distinct(descriptors: readonly Descriptor[]): readonly Descriptor[] {
  return [...new Map(descriptors.map((descriptor) => [descriptor.digest, descriptor])).values()];
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Runs `act` over the list, at most `width` at a time. */
async function inParallel<T>(
  list: readonly T[],
  width: number,
  act: (entry: T) => Promise<void>,
): Promise<void> {
  const queue = list.values();
  await Promise.all(
    Array.from({ length: Math.min(width, list.length) }, async () => {
      for (const entry of queue) await act(entry);
    }),
  );
}
