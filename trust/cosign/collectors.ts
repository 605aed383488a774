import { attempt } from '../../base/errors/index.ts';
import type { Descriptor, ImageManifest } from '../../base/distribution/index.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import type { Collector } from '../evidence/collector.ts';
import {
  bundleMediaTypes,
  cosignPredicateType,
  emptyType,
  legacyAnnotations,
  predicateTypeAnnotation,
  simpleSigningMediaType,
} from '../evidence/cosign-names.ts';

/**
 * Sigstore bundles among the referrers that sign an image (cosign v3). Bundles with other predicates are
 * attestations.
 */
const signatureBundles: Collector = {
  kind: 'sigstore-bundle',
  at: 'referrers',
  wants: mayBeSignatureBundle,
  layers: (manifest) => {
    const layer = manifest.layers.find(({ mediaType }) => bundleMediaTypes.includes(mediaType));
    return layer === undefined || (predicateOf(manifest) ?? cosignPredicateType) !== cosignPredicateType
      ? []
      : [layer];
  },
  // A message signature is over the manifest's own bytes, which `decide` therefore needs.
  judge: (bytes) => (isMessageSignature(bytes) ? 'with-subject' : 'keep'),
};

/**
 * Signatures in cosign's older form: the layers of the manifest under `sha256-<hex>.sig` (cosign,
 * specs/SIGNATURE_SPEC.md).
 */
const simpleSigning: Collector = {
  kind: 'cosign-simple-signing',
  at: 'sig',
  layers: (manifest) => manifest.layers.filter(({ mediaType }) => mediaType === simpleSigningMediaType),
  annotations: (layer) =>
    Object.fromEntries(
      Object.entries(layer.annotations ?? {}).filter(([name]) => legacyAnnotations.includes(name)),
    ),
};

export const cosignCollectors: readonly Collector[] = [signatureBundles, simpleSigning];

/**
 * Whether a referrer may be a signature bundle. Fallback tags written by some tools have no artifact type:
 * these manifests must be opened to find out.
 */
function mayBeSignatureBundle(descriptor: Descriptor): boolean {
  const type = descriptor.artifactType ?? emptyType;
  const predicate = descriptor.annotations?.[predicateTypeAnnotation];
  return (
    (bundleMediaTypes.includes(type) || type === emptyType) &&
    (predicate === undefined || predicate === cosignPredicateType)
  );
}

function predicateOf(manifest: ImageManifest): string | undefined {
  return manifest.annotations[predicateTypeAnnotation];
}

function isMessageSignature(bundle: Uint8Array): boolean {
  return attempt(() => recordOf(parseStrictJson(bundle))?.['messageSignature'] !== undefined) ?? false;
}
