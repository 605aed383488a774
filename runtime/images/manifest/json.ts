import { keyFlaw, parseJson } from '../../../base/json/index.ts';
import type { FieldNames } from '../../../base/json/index.ts';
import type { PortcullisError } from '../../../base/errors/index.ts';
import { imageError } from '../limits/failures.ts';

export type ManifestCode = 'IMAGES_BAD_INDEX' | 'IMAGES_BAD_MANIFEST' | 'IMAGES_BAD_CONFIG';

const nouns: Readonly<Record<ManifestCode, string>> = {
  IMAGES_BAD_INDEX: 'image index',
  IMAGES_BAD_MANIFEST: 'image manifest',
  IMAGES_BAD_CONFIG: 'image configuration',
};

export function malformed(code: ManifestCode, on: string, why: string): PortcullisError {
  return imageError({
    code,
    kind: 'data-loss',
    attempted: `read ${nouns[code]}`,
    on,
    why,
    fix: 'build the image again with a tool that writes OCI images',
  });
}

export type JsonObject = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/**
 * Parses one JSON object in UTF-8.
 * @param names the fields of the document. Keys that other readers, such as scanners, take for other fields
 * or values are then refused.
 */
export function parseObject(
  bytes: Uint8Array,
  code: ManifestCode,
  on: string,
  names?: FieldNames,
): JsonObject {
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    value = parseJson(text);
  } catch {
    throw malformed(code, on, 'it is not JSON in UTF-8');
  }
  const flaw = names === undefined ? undefined : keyFlaw(text, names);
  if (flaw !== undefined) throw malformed(code, on, flaw);
  if (!isObject(value)) throw malformed(code, on, 'it is not a JSON object');
  return value;
}

export interface BlobDescriptor {
  readonly mediaType: string;
  /** `sha256:` and 64 hex digits. */
  readonly digest: string;
  readonly size: number;
}

const digestPattern = /^sha256:[0-9a-f]{64}$/;

/**
 * Parses a descriptor (image-spec, descriptor.md). Accepts only sha256, because names of folders and of rows
 * are derived from it.
 */
export function parseDescriptor(
  value: unknown,
  code: ManifestCode,
  on: string,
  what: string,
): BlobDescriptor & { readonly raw: JsonObject } {
  if (!isObject(value)) throw malformed(code, on, `${what} is not a descriptor`);
  const { mediaType, digest, size } = value;
  if (typeof mediaType !== 'string' || mediaType === '' || mediaType.length > 255)
    throw malformed(code, on, `${what} has no media type`);
  if (typeof digest !== 'string' || !digestPattern.test(digest))
    throw malformed(code, on, `the digest of ${what} is not sha256 and 64 hex digits`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw malformed(code, on, `the size of ${what} is not a number of bytes`);
  return { mediaType, digest, size, raw: value };
}
