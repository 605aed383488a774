import type { Descriptor, ImageManifest } from '../../base/distribution/index.ts';
import type { Collector, LeafRequirement } from '../evidence/collector.ts';
import type { LargeLayers } from '../evidence/collection.ts';
import {
  bundleMediaTypes,
  cosignPredicateType,
  dsseMediaType,
  emptyType,
  legacyAnnotations,
  legacyPredicateTypeAnnotation,
  predicateTypeAnnotation,
} from '../evidence/cosign-names.ts';
import { decodeBase64, parseStrictJson, recordOf } from '../strict-json.ts';
import { largestAttestation } from './size.ts';
import { readStatement } from './statement.ts';

/** Sigstore bundles of other predicates than the one that signs an image, among the referrers (cosign v3). */
const bundles: Collector = {
  kind: 'attestation',
  at: 'referrers',
  wants(descriptor, wanted) {
    const type = descriptor.artifactType ?? emptyType;
    return (
      (bundleMediaTypes.includes(type) || type === emptyType) && mayBeWanted(descriptor.annotations?.[predicateTypeAnnotation], wanted)
    );
  },
  layers(manifest, wanted) {
    const layer = manifest.layers.find(({ mediaType }) => bundleMediaTypes.includes(mediaType));
    return layer === undefined || !mayBeWanted(manifest.annotations[predicateTypeAnnotation], wanted) ? [] : [layer];
  },
  judge: keepWanted,
  large: largeAttestations,
};

/** Attestations in cosign's older form: each layer of the manifest under `sha256-<hex>.att` is an envelope. */
const envelopes: Collector = {
  kind: 'attestation',
  at: 'att',
  needed: (wanted) => wanted.some((requirement) => requirement.kind === 'attestation' && requirement.optional !== true),
  layers: (manifest: ImageManifest, wanted) =>
    manifest.layers.filter(
      ({ mediaType, annotations }) => mediaType === dsseMediaType && mayBeWanted(annotations?.[legacyPredicateTypeAnnotation], wanted),
    ),
  annotations: (layer: Descriptor) =>
    Object.fromEntries(Object.entries(layer.annotations ?? {}).filter(([name, value]) => legacyAnnotations.includes(name) && value !== '')),
  judge: keepWanted,
  large: largeAttestations,
};

export const attestationCollectors: readonly Collector[] = [bundles, envelopes];

/** Annotations are no proof, but who hides an attestation behind a wrong one could as well not serve it. */
function mayBeWanted(predicateType: string | undefined, wanted: readonly LeafRequirement[]): boolean {
  return predicateType === undefined || isWanted(predicateType, wanted);
}

function isWanted(predicateType: string, wanted: readonly LeafRequirement[]): boolean {
  return wanted.some((requirement) => requirement.kind === 'attestation' && requirement.predicateType === predicateType);
}

function largeAttestations(wanted: readonly LeafRequirement[]): LargeLayers {
  const layer = largestAttestation(wanted);
  return { layer, together: 2 * layer, setting: "`maxSize` of the policy's attestation" };
}

/** To read larger ones whole, only to see whether they are wanted, would keep the main thread from everything else. */
const readWhole = 256 * 1024;

/** The predicate type that the beginning of an envelope shows; undefined when it shows none. Only a hint: what it hides could as well not be served. */
function typeAtStart(bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const key = /"payload"\s*:\s*"/.exec(buffer.subarray(0, 4096 + Math.max(0, buffer.indexOf('"payload"'))).toString('latin1'));
  if (key === null) return undefined;
  const start = key.index + key[0].length;
  const text = Buffer.from(
    buffer
      .subarray(start, start + 64 * 1024)
      .toString('latin1')
      .split('"')[0] ?? '',
    'base64',
  ).toString('utf8');
  return /"predicateType"\s*:\s*"([^"\\]+)"/.exec(text)?.[1];
}

/** What is readable and of a type that nobody asked for is left behind; what can not be read is kept, and its reason shown. */
function keepWanted(bytes: Uint8Array, wanted: readonly LeafRequirement[]): 'keep' | 'drop' {
  if (bytes.byteLength > readWhole) {
    const type = typeAtStart(bytes);
    return type === undefined || (type !== cosignPredicateType && isWanted(type, wanted)) ? 'keep' : 'drop';
  }
  try {
    const value = recordOf(parseStrictJson(bytes));
    const payload = decodeBase64((recordOf(value?.['dsseEnvelope']) ?? value)?.['payload']);
    // A message signature: a signature of the image, and collected as one.
    if (payload === undefined) return value?.['messageSignature'] === undefined ? 'keep' : 'drop';
    const { predicateType } = readStatement(payload);
    return predicateType !== cosignPredicateType && isWanted(predicateType, wanted) ? 'keep' : 'drop';
  } catch {
    return 'keep';
  }
}
