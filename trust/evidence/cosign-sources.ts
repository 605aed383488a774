import type { Descriptor, RegistryRepository } from '../../base/distribution/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { EvidenceItem } from '../types.ts';
import { parseStrictJson, recordOf } from '../strict-json.ts';
import {
  bundleMediaTypes,
  cosignPredicateType,
  emptyType,
  predicateTypeAnnotation,
  signatureAnnotation,
  signatureTag,
  simpleSigningMediaType,
} from './cosign-names.ts';
import { isBadContent, isNotFound } from './collection.ts';
import type { Collection } from './collection.ts';

type Found = Pick<EvidenceItem, 'kind' | 'attachedTo' | 'foundBy' | 'servedBy' | 'manifestDigest'>;

/** Sigstore bundles among the referrers of `digest` (distribution-spec, "Listing Referrers" and its fallback tag). */
export async function collectBundles(repository: RegistryRepository, digest: string, collection: Collection): Promise<void> {
  const source = `${repository.host}/${repository.repository}, referrers of ${digest}`;
  try {
    // The filter by type is ours: registries may ignore the question's, and one listing serves every kind.
    const { via, descriptors, complete } = await repository.referrers(digest, {
      limit: collection.limits.listing,
      signal: collection.signal,
    });
    const foundBy = via === 'referrers' ? 'referrers' : `fallback-tag ${digest.replace(':', '-')}`;
    if (!complete) collection.overflow(source);
    const chosen = descriptors.filter(mayBeSignatureBundle).filter(() => collection.take(source));
    await inParallel(chosen, collection.limits.parallel, (descriptor) =>
      addBundle(
        repository,
        descriptor,
        { kind: 'sigstore-bundle', attachedTo: digest, foundBy, servedBy: repository.host, manifestDigest: descriptor.digest },
        collection,
      ),
    );
  } catch (error) {
    if (!isNotFound(error)) collection.failed(source, error);
  }
}

/** Fallback tags written by some tools carry no artifact type: those must be opened to know. */
function mayBeSignatureBundle(descriptor: Descriptor): boolean {
  const type = descriptor.artifactType ?? emptyType;
  const predicate = descriptor.annotations?.[predicateTypeAnnotation];
  return (bundleMediaTypes.includes(type) || type === emptyType) && (predicate === undefined || predicate === cosignPredicateType);
}

async function addBundle(repository: RegistryRepository, descriptor: Descriptor, found: Found, collection: Collection): Promise<void> {
  await addOrRecord(found, collection, async () => {
    const { content: manifest } = await repository.manifest(descriptor, collection.signal);
    if (manifest.kind !== 'manifest') return;
    const layer = manifest.layers.find(({ mediaType }) => bundleMediaTypes.includes(mediaType));
    // Something else of no stated type: another tool's artifact, not ours to judge.
    if (layer === undefined || (manifest.annotations[predicateTypeAnnotation] ?? cosignPredicateType) !== cosignPredicateType) return;
    if (manifest.subject?.digest !== found.attachedTo) {
      collection.add(
        unusable(
          found,
          layer,
          `its manifest says it belongs to ${manifest.subject?.digest ?? 'nothing'}, and it was listed for ${found.attachedTo}`,
        ),
      );
      return;
    }
    if (layer.size <= collection.limits.blobBytes && !collection.reserve(layer.size, sourceOf(found))) return;
    const bytes = await repository.blobBytes(layer, collection.limits.blobBytes, collection.signal);
    const subjectBytes = isMessageSignature(bytes) ? await subjectOf(repository, found, collection) : undefined;
    collection.add({ ...found, ...layerFacts(layer), bytes: base64(bytes), ...(subjectBytes === undefined ? {} : { subjectBytes }) });
  });
}

/** A message signature is over the manifest's own bytes, which `decide` must then have. */
async function subjectOf(repository: RegistryRepository, found: Found, collection: Collection): Promise<string | undefined> {
  const { bytes } = await repository.manifest(found.attachedTo, collection.signal);
  const kept = bytes.byteLength <= collection.limits.subjectBytes && collection.reserve(bytes.byteLength, sourceOf(found));
  return kept ? base64(bytes) : undefined;
}

function isMessageSignature(bundle: Uint8Array): boolean {
  try {
    return recordOf(parseStrictJson(bundle))?.['messageSignature'] !== undefined;
  } catch {
    return false;
  }
}

/** Signatures in cosign's older form: the layers of the manifest under `sha256-<hex>.sig` (cosign, specs/SIGNATURE_SPEC.md). */
export async function collectSimpleSigning(repository: RegistryRepository, digest: string, collection: Collection): Promise<void> {
  const tag = signatureTag(digest);
  const source = `${repository.host}/${repository.repository}:${tag}`;
  const found: Found = {
    kind: 'cosign-simple-signing',
    attachedTo: digest,
    foundBy: `tag ${tag}`,
    servedBy: repository.host,
    manifestDigest: '',
  };
  try {
    const manifest = await repository.manifest(tag, collection.signal);
    const here = { ...found, manifestDigest: manifest.digest };
    const layers = (manifest.content.kind === 'manifest' ? manifest.content.layers : []).filter(
      ({ mediaType }) => mediaType === simpleSigningMediaType,
    );
    const chosen = layers.filter(() => collection.take(source));
    await inParallel(chosen, collection.limits.parallel, (layer) =>
      addOrRecord(
        { ...here },
        collection,
        async () => {
          if (layer.size <= collection.limits.blobBytes && !collection.reserve(layer.size, source)) return;
          const bytes = await repository.blobBytes(layer, collection.limits.blobBytes, collection.signal);
          collection.add({ ...here, ...layerFacts(layer), bytes: base64(bytes) });
        },
        layer,
      ),
    );
  } catch (error) {
    if (isNotFound(error)) return;
    if (isBadContent(error)) collection.add(unusable(found, undefined, `it could not be read: ${reasonOf(error)}`));
    else collection.failed(source, error);
  }
}

async function addOrRecord(found: Found, collection: Collection, add: () => Promise<void>, layer?: Descriptor): Promise<void> {
  try {
    await add();
  } catch (error) {
    if (isBadContent(error)) collection.add(unusable(found, layer, `it could not be read: ${reasonOf(error)}`));
    else collection.failed(`${sourceOf(found)}, ${layer?.digest ?? found.manifestDigest}`, error);
  }
}

function sourceOf(found: Found): string {
  return `${found.servedBy}, ${found.foundBy}`;
}

function unusable(found: Found, layer: Descriptor | undefined, problem: string): EvidenceItem {
  return { ...found, ...(layer === undefined ? { blobDigest: '', mediaType: '', annotations: {} } : layerFacts(layer)), problem };
}

/** Of a descriptor's annotations only the signature is evidence; anything else a registry adds is left behind. */
function layerFacts(layer: Descriptor): Pick<EvidenceItem, 'blobDigest' | 'mediaType' | 'annotations'> {
  const signature = layer.annotations?.[signatureAnnotation];
  return {
    blobDigest: layer.digest,
    mediaType: layer.mediaType,
    annotations: signature === undefined ? {} : { [signatureAnnotation]: signature },
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Runs `act` over the list, at most `width` at a time. */
async function inParallel<T>(list: readonly T[], width: number, act: (entry: T) => Promise<void>): Promise<void> {
  const queue = list.values();
  await Promise.all(
    Array.from({ length: Math.min(width, list.length) }, async () => {
      for (const entry of queue) await act(entry);
    }),
  );
}
