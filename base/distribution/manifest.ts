import { keyFlaw, parseJson } from '../json/index.ts';
import { parseDescriptor, record } from './descriptor.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { Descriptor } from './descriptor.ts';

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
} as const;

export const manifestByteLimit = 4 * 1024 * 1024;
const indexEntryLimit = 1000;
const layerLimit = 500;

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly Descriptor[];
  readonly artifactType?: string;
  readonly subject?: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly artifactType?: string;
  readonly subject?: Descriptor;
  readonly annotations: Readonly<Record<string, string>>;
}

export type Manifest = ImageIndex | ImageManifest;

/** The fields that are read of an index and a manifest, and those whose keys are any text. */
const names = {
  fields: [
    ...['schemaVersion', 'manifests', 'layers', 'config', 'subject', 'artifactType', 'fsLayers', 'history'],
    ...['mediaType', 'digest', 'size', 'urls', 'annotations', 'platform'],
    ...['os', 'architecture', 'variant', 'os.features', 'rootfs'],
  ],
  maps: ['annotations'],
};

/**
 * Parses the bytes of an index or a manifest strictly as the type that Content-Type names (image-spec,
 * manifest.md and image-index.md). A mediaType field that differs, fields of the other type, and keys that
 * some readers take for other fields are refused: two readers must never see two images (CVE-2021-41190).
 * @param mediaType Content-Type or the descriptor's, without parameters
 * @throws PortcullisError DISTRIBUTION_BAD_MANIFEST, DISTRIBUTION_TOO_LARGE
 */
export function parseManifest(bytes: Uint8Array, mediaType: string, task: Task): Manifest {
  const refuse = (why: string): never => {
    throw distributionError('DISTRIBUTION_BAD_MANIFEST', task, why, { details: { mediaType } });
  };
  if (bytes.length > manifestByteLimit)
    throw distributionError(
      'DISTRIBUTION_TOO_LARGE',
      task,
      `it has ${bytes.length} bytes, and at most ${manifestByteLimit} are read`,
    );
  let json: unknown;
  let text = '';
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    json = parseJson(text);
  } catch {
    refuse('its bytes are not JSON in UTF-8');
  }
  const flaw = keyFlaw(text, names);
  if (flaw !== undefined) refuse(flaw);
  const fields = record(json) ?? refuse('it is not a JSON object');
  if (fields['schemaVersion'] !== 2) refuse('its schemaVersion is not 2');
  if (fields['mediaType'] !== undefined && fields['mediaType'] !== mediaType) {
    refuse(
      `its mediaType field is ${JSON.stringify(fields['mediaType']).slice(0, 100)}, but the registry reports "${mediaType}"`,
    );
  }
  const descriptor = (value: unknown, name: string): Descriptor => {
    const parsed = parseDescriptor(value);
    return typeof parsed === 'string' ? refuse(`${name}: ${parsed}`) : parsed;
  };
  const list = (name: 'manifests' | 'layers', limit: number): readonly Descriptor[] => {
    // Go writes an empty list as null.
    const value = fields[name] === null ? [] : fields[name];
    if (!Array.isArray(value)) return refuse(`its field ${name} is not a list`);
    if (value.length > limit)
      throw distributionError(
        'DISTRIBUTION_TOO_LARGE',
        task,
        `it has ${value.length} ${name}, and at most ${limit} are read`,
      );
    return value.map((item, index) => descriptor(item, `${name}[${index}]`));
  };
  const artifactType = fields['artifactType'];
  if (artifactType !== undefined && (typeof artifactType !== 'string' || artifactType.length > 255))
    refuse('its artifactType is not a text of at most 255 characters');
  const annotations = parseAnnotationsOr(fields['annotations'], refuse);
  const common = {
    mediaType,
    annotations,
    ...(typeof artifactType === 'string' && artifactType !== '' ? { artifactType } : {}),
    ...(fields['subject'] === undefined || fields['subject'] === null
      ? {}
      : { subject: descriptor(fields['subject'], 'subject') }),
  };

  if (mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerIndex) {
    for (const field of ['config', 'layers', 'fsLayers', 'history'])
      if (fields[field] !== undefined) refuse(`it is an index, but it also has the field ${field}`);
    return { kind: 'index', ...common, manifests: list('manifests', indexEntryLimit) };
  }
  if (mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest) {
    for (const field of ['manifests', 'fsLayers', 'history'])
      if (fields[field] !== undefined) refuse(`it is a manifest, but it also has the field ${field}`);
    return {
      kind: 'manifest',
      ...common,
      config: descriptor(fields['config'], 'config'),
      layers: list('layers', layerLimit),
    };
  }
  return refuse(`the media type "${mediaType.slice(0, 100)}" is not a supported image manifest or index`);
}

function parseAnnotationsOr(
  value: unknown,
  refuse: (why: string) => never,
): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {};
  const fields = record(value) ?? refuse('its annotations are not an object');
  const entries = Object.entries(fields);
  if (!entries.every((entry): entry is [string, string] => typeof entry[1] === 'string'))
    return refuse('an annotation is not a text');
  return Object.fromEntries(entries);
}
