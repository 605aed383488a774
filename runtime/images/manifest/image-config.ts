import { normalPlatform } from '../../../base/distribution/index.ts';
import type { Platform } from '../../../trust/index.ts';
import { imageError } from '../limits/failures.ts';
import { isObject, malformed, parseObject } from './json.ts';
import type { JsonObject } from './json.ts';

/** The parts of an OCI image configuration that a container needs (image-spec, config.md). */
export interface ImageConfig {
  readonly architecture: string;
  readonly os: string;
  readonly created?: string;
  readonly user: string;
  readonly env: readonly string[];
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly workingDir: string;
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly stopSignal: string;
  /** Only of an artifact, which has files and cannot run: its type. */
  readonly artifactType?: string;
}

export interface ParsedConfig {
  readonly config: ImageConfig;
  /** Digests of the uncompressed layer archives, lowest first. */
  readonly diffIds: readonly string[];
}

/** The fields that are read of a configuration, and those whose keys are any text. */
const names = {
  fields: [
    ...['os', 'architecture', 'created', 'config', 'rootfs', 'type', 'diff_ids'],
    ...['User', 'Env', 'Entrypoint', 'Cmd', 'WorkingDir', 'Volumes', 'Labels', 'StopSignal'],
  ],
  maps: ['Labels', 'Volumes', 'ExposedPorts'],
};
const diffIdPattern = /^sha256:[0-9a-f]{64}$/;

/**
 * Reads an image configuration (image-spec, config.md) and checks it against the number of layers in its
 * manifest. Throws IMAGES_BAD_CONFIG, and IMAGES_NO_PLATFORM when it was built for another platform.
 */
export function parseImageConfig(
  bytes: Uint8Array,
  digest: string,
  layerCount: number,
  platform: Platform,
): ParsedConfig {
  const document = parseObject(bytes, 'IMAGES_BAD_CONFIG', digest, names);
  const os = text(document, 'os', digest);
  const architecture = text(document, 'architecture', digest);
  const stated = normalPlatform({ os, architecture });
  const machine = normalPlatform(platform);
  if (
    (os !== '' && stated.os !== machine.os) ||
    (architecture !== '' && stated.architecture !== machine.architecture)
  ) {
    throw imageError({
      code: 'IMAGES_NO_PLATFORM',
      kind: 'not-found',
      attempted: 'use image configuration',
      on: digest,
      why: `the image is built for ${os}/${architecture}, not for ${platform.os}/${platform.architecture}`,
      fix: 'build the image for this platform',
    });
  }
  const inner = document['config'] ?? {};
  if (!isObject(inner)) throw malformed('IMAGES_BAD_CONFIG', digest, 'its field config is not an object');
  const created = text(document, 'created', digest);
  return {
    config: {
      architecture,
      os,
      ...(created === '' ? {} : { created }),
      user: text(inner, 'User', digest),
      env: texts(inner, 'Env', digest),
      entrypoint: texts(inner, 'Entrypoint', digest),
      cmd: texts(inner, 'Cmd', digest),
      workingDir: text(inner, 'WorkingDir', digest),
      volumes: Object.keys(members(inner, 'Volumes', digest)),
      labels: labels(inner, digest),
      stopSignal: text(inner, 'StopSignal', digest),
    },
    diffIds: diffIds(document, digest, layerCount),
  };
}

function diffIds(document: JsonObject, digest: string, layerCount: number): readonly string[] {
  const rootfs = document['rootfs'];
  const listed: unknown =
    isObject(rootfs) && rootfs['type'] === 'layers' ? (rootfs['diff_ids'] ?? []) : undefined;
  if (!Array.isArray(listed))
    throw malformed('IMAGES_BAD_CONFIG', digest, 'its field rootfs does not have the type layers');
  const ids = listed.map((id: unknown) => {
    if (typeof id !== 'string' || !diffIdPattern.test(id))
      throw malformed('IMAGES_BAD_CONFIG', digest, 'a diff id is not sha256 and 64 hex digits');
    return id;
  });
  if (ids.length !== layerCount)
    throw malformed(
      'IMAGES_BAD_CONFIG',
      digest,
      `it lists ${ids.length} layers, and the manifest lists ${layerCount}`,
    );
  return ids;
}

/** A missing field and null give the empty value, as in Go's JSON decoder. */
function text(object: JsonObject, field: string, digest: string): string {
  const value = object[field] ?? '';
  if (typeof value !== 'string')
    throw malformed('IMAGES_BAD_CONFIG', digest, `its field ${field} is not a string`);
  return value;
}

function texts(object: JsonObject, field: string, digest: string): readonly string[] {
  const value: unknown = object[field] ?? [];
  if (!Array.isArray(value)) throw malformed('IMAGES_BAD_CONFIG', digest, `its field ${field} is not a list`);
  return value.map((item: unknown) => {
    if (typeof item !== 'string')
      throw malformed(
        'IMAGES_BAD_CONFIG',
        digest,
        `its field ${field} contains a value that is not a string`,
      );
    return item;
  });
}

function members(object: JsonObject, field: string, digest: string): JsonObject {
  const value = object[field] ?? {};
  if (!isObject(value)) throw malformed('IMAGES_BAD_CONFIG', digest, `its field ${field} is not an object`);
  return value;
}

function labels(inner: JsonObject, digest: string): Readonly<Record<string, string>> {
  const entries = Object.entries(members(inner, 'Labels', digest)).map(([key, said]): [string, string] => {
    const value = said ?? '';
    if (typeof value !== 'string') throw malformed('IMAGES_BAD_CONFIG', digest, 'a label is not a string');
    return [key, value];
  });
  return Object.fromEntries(entries);
}
