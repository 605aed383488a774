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
import { decodeBase64, parseStrictJson, recordOf } from '../json/strict-json.ts';
import { largestAttestation } from './size.ts';
import { readStatement } from './statement.ts';

/**
 * Sigstore bundles among the referrers with a predicate other than that of an image signature (cosign v3).
 */
const bundles: Collector = {
  kind: 'attestation',
  at: 'referrers',
  wants(descriptor, wanted) {
    const type = descriptor.artifactType ?? emptyType;
    return (
      (bundleMediaTypes.includes(type) || type === emptyType) &&
      mayBeWanted(descriptor.annotations?.[predicateTypeAnnotation], wanted)
    );
  },
  layers(manifest, wanted) {
    const layer = manifest.layers.find(({ mediaType }) => bundleMediaTypes.includes(mediaType));
    return layer === undefined || !mayBeWanted(manifest.annotations[predicateTypeAnnotation], wanted)
      ? []
      : [layer];
  },
  judge: keepWanted,
  large: largeAttestations,
};

/**
 * Attestations in cosign's older form: each layer of the manifest under `sha256-<hex>.att` is an envelope.
 */
const envelopes: Collector = {
  kind: 'attestation',
  at: 'att',
  needed: (wanted) =>
    wanted.some((requirement) => requirement.kind === 'attestation' && requirement.optional !== true),
  layers: (manifest: ImageManifest, wanted) =>
    manifest.layers.filter(
      ({ mediaType, annotations }) =>
        mediaType === dsseMediaType && mayBeWanted(annotations?.[legacyPredicateTypeAnnotation], wanted),
    ),
  annotations: (layer: Descriptor) =>
    Object.fromEntries(
      Object.entries(layer.annotations ?? {}).filter(
        ([name, value]) => legacyAnnotations.includes(name) && value !== '',
      ),
    ),
  judge: keepWanted,
  large: largeAttestations,
};

export const attestationCollectors: readonly Collector[] = [bundles, envelopes];

/**
 * Annotations are not proof. A registry that hides an attestation behind a wrong annotation could just as
 * well not serve it.
 */
function mayBeWanted(predicateType: string | undefined, wanted: readonly LeafRequirement[]): boolean {
  return predicateType === undefined || isWanted(predicateType, wanted);
}

function isWanted(predicateType: string, wanted: readonly LeafRequirement[]): boolean {
  return wanted.some(
    (requirement) => requirement.kind === 'attestation' && requirement.predicateType === predicateType,
  );
}

function largeAttestations(wanted: readonly LeafRequirement[]): LargeLayers {
  const layer = largestAttestation(wanted);
  return { layer, together: 2 * layer, setting: "`maxSize` of the policy's attestation" };
}

/**
 * Parsing larger attestations completely, only to see whether they are wanted, would block the main thread.
 */
const readWhole = 256 * 1024;

/**
 * Returns the predicate type that the start of an envelope shows, or undefined. Only a hint: a registry that
 * hides the type could just as well not serve the envelope.
 */
function typeAtStart(bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const key = /"payload"\s*:\s*"/.exec(
    buffer.subarray(0, 4096 + Math.max(0, buffer.indexOf('"payload"'))).toString('latin1'),
  );
  if (key === null) return undefined;
  const start = key.index + key[0].length;
  const text = Buffer.from(
    buffer
      .subarray(start, start + 64 * 1024)
      .toString('latin1')
      .split('"')[0] ?? '',
    'base64',
  ).toString('utf8');
  const type = /"predicateType"\s*:\s*"([^"\\]+)"/.exec(text);
  const predicate = text.search(/"predicate"\s*:/);
  // Sorted keys begin with the predicate, which may quote other statements.
  return predicate !== -1 && predicate < (type?.index ?? 0) ? undefined : type?.[1];
}

/**
 * Drops an attestation that is readable and has a type that no requirement asks for. Keeps an unreadable one,
 * so that its reason is shown.
 */
function keepWanted(bytes: Uint8Array, wanted: readonly LeafRequirement[]): 'keep' | 'drop' {
  if (bytes.byteLength > readWhole) {
    const type = typeAtStart(bytes);
    return type === undefined || (type !== cosignPredicateType && isWanted(type, wanted)) ? 'keep' : 'drop';
  }
  try {
    const value = recordOf(parseStrictJson(bytes));
    const payload = decodeBase64((recordOf(value?.['dsseEnvelope']) ?? value)?.['payload']);
    // A message signature is a signature of the image, and is collected as one.
    if (payload === undefined) return value?.['messageSignature'] === undefined ? 'keep' : 'drop';
    const { predicateType } = readStatement(payload);
    return predicateType !== cosignPredicateType && isWanted(predicateType, wanted) ? 'keep' : 'drop';
  } catch {
    return 'keep';
  }
}
