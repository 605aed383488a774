import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { parseStrictJson, recordOf } from '../strict-json.ts';

/** A layer of an artifact's manifest: what leads to a payload or bundle. */
export interface ArtifactLayer {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ArtifactManifest {
  readonly subject?: string;
  readonly annotations: Readonly<Record<string, string>>;
  readonly layers: readonly ArtifactLayer[];
}

/** The parts of an artifact's manifest that lead to evidence (image-spec manifest.md). @throws PortcullisError `TRUST_EVIDENCE_MANIFEST` */
export function parseArtifactManifest(bytes: Uint8Array): ArtifactManifest {
  let manifest: Readonly<Record<string, unknown>> | undefined;
  try {
    manifest = recordOf(parseStrictJson(bytes));
  } catch (error) {
    throw badManifest(`its manifest: ${reasonOf(error)}`);
  }
  const layers = manifest?.['layers'];
  if (!Array.isArray(layers)) throw badManifest('its manifest has no layers');
  const subject = recordOf(manifest?.['subject'])?.['digest'];
  return {
    ...(typeof subject === 'string' ? { subject } : {}),
    annotations: textsOf(manifest?.['annotations']),
    layers: layers.map(parseLayer),
  };
}

function badManifest(why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_EVIDENCE_MANIFEST',
    kind: 'invalid',
    attempted: 'read the manifest of a signature',
    on: '',
    why,
    fix: 'sign the image again',
  });
}

function parseLayer(value: unknown): ArtifactLayer {
  const layer = recordOf(value);
  const { mediaType, digest, size } = layer ?? {};
  if (typeof mediaType !== 'string' || typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest) || !Number.isSafeInteger(size)) {
    throw badManifest('a layer of its manifest has no media type, sha256 digest or size');
  }
  return { mediaType, digest, size: size as number, annotations: textsOf(layer?.['annotations']) };
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(recordOf(value) ?? {}).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}
