import { isDigest } from './digest.ts';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly osVersion?: string;
  /** Features of the operating system that the image needs (image-spec, image-index.md, `os.features`). */
  readonly osFeatures?: readonly string[];
}

/**
 * A descriptor (image-spec, descriptor.md). Checked when parsed: the digest has a known algorithm, the size
 * is a safe integer ≥ 0.
 */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  /** Foreign locations of a layer. Never fetched (CVE-2020-15157). */
  readonly urls?: readonly string[];
}

const annotationBytes = 256 * 1024;

/** Returns a plain object, or undefined. */
export function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Returns the descriptor (image-spec, descriptor.md), or a text that says what is wrong with it. */
export function parseDescriptor(value: unknown): Descriptor | string {
  const fields = record(value);
  if (fields === undefined) return 'no descriptor';
  const { mediaType, digest, size, artifactType, annotations, platform, urls } = fields;
  if (typeof mediaType !== 'string' || mediaType === '' || mediaType.length > 255)
    return 'its mediaType is not a text of 1 to 255 characters';
  if (typeof digest !== 'string' || !isDigest(digest)) return 'its digest is not a sha256 or sha512 digest';
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    return 'its size is not a whole number of bytes';
  if (artifactType !== undefined && (typeof artifactType !== 'string' || artifactType.length > 255))
    return 'its artifactType is not a text of at most 255 characters';
  const notes = annotations === null || annotations === undefined ? undefined : textMap(annotations);
  if (notes === 'bad') return 'its annotations are not a map of texts, or are too large';
  const where = platform === null || platform === undefined ? undefined : parsePlatform(platform);
  if (where === 'bad') return 'its platform lacks os or architecture';
  return {
    mediaType,
    digest,
    size,
    ...(artifactType === undefined || artifactType === '' ? {} : { artifactType }),
    ...(notes === undefined ? {} : { annotations: notes }),
    ...(where === undefined ? {} : { platform: where }),
    ...(Array.isArray(urls) ? { urls: urls.filter((url) => typeof url === 'string') } : {}),
  };
}

function textMap(value: unknown): Readonly<Record<string, string>> | 'bad' {
  const entries = Object.entries(record(value) ?? { '': 0 });
  let bytes = 0;
  for (const [name, text] of entries) {
    if (typeof text !== 'string') return 'bad';
    bytes += name.length + text.length;
  }
  return bytes > annotationBytes ? 'bad' : (Object.fromEntries(entries) as Record<string, string>);
}

/** Returns the features that the platform of an entry demands of the operating system, if it has any. */
export function osFeaturesOf(platform: Readonly<Record<string, unknown>>): Pick<Platform, 'osFeatures'> {
  const features: unknown = platform['os.features'];
  return Array.isArray(features) && features.length > 0
    ? { osFeatures: features.map((one) => (typeof one === 'string' ? one : '?')) }
    : {};
}

function parsePlatform(value: unknown): Platform | 'bad' {
  const fields = record(value) ?? {};
  const { os, architecture, variant, 'os.version': osVersion } = fields;
  if (typeof os !== 'string' || typeof architecture !== 'string') return 'bad';
  return {
    os,
    architecture,
    ...(typeof variant === 'string' && variant !== '' ? { variant } : {}),
    ...(typeof osVersion === 'string' && osVersion !== '' ? { osVersion } : {}),
    ...osFeaturesOf(fields),
  };
}
