import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { Descriptor } from '../../base/distribution/index.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { damaged } from './archive-errors.ts';
import type { LayoutRepository } from './layout.ts';
import { compressionOf } from './unpack-archive.ts';
import type { ArchiveFiles } from './unpack-archive.ts';

/** An image of a docker archive, which is now a manifest of the layout. */
export interface DockerImage {
  readonly digest: string;
  /** As docker wrote them: `shop/web:1`. */
  readonly names: readonly string[];
}

/**
 * One item of `manifest.json` (docker's image specification v1.2, "Combined Image JSON + Filesystem Changeset
 * Format").
 */
interface Item {
  readonly config: string;
  readonly names: readonly string[];
  readonly layers: readonly string[];
}

const mostImages = 1000;
const mostLayers = 500;
const layerType = 'application/vnd.oci.image.layer.v1.tar';
const configType = 'application/vnd.oci.image.config.v1+json';

/**
 * Gives each image of a docker archive an OCI manifest. The same archive gives the same manifests.
 * @param file the archive, for messages
 * @param manifest the bytes of its `manifest.json`
 * @param folder the folder of the layout
 * @throws TRUST_ARCHIVE_DAMAGED
 */
export async function readDockerArchive(
  file: string,
  manifest: Uint8Array,
  files: ArchiveFiles,
  folder: string,
  layout: LayoutRepository,
): Promise<readonly DockerImage[]> {
  const images: DockerImage[] = [];
  for (const item of itemsOf(file, manifest)) {
    const config = described(file, files, item.config, configType);
    const diffIds = await diffIdsOf(file, layout, config);
    if (diffIds.length !== item.layers.length)
      throw damaged(
        file,
        `${item.config} lists ${diffIds.length} layers, manifest.json ${item.layers.length}`,
      );
    const layers: Descriptor[] = [];
    for (const [at, name] of item.layers.entries()) {
      const layer = described(file, files, name, layerType);
      const compression = compressionOf(
        await headOf(join(folder, 'blobs', 'sha256', layer.digest.slice('sha256:'.length))),
      );
      if (compression === undefined && layer.digest !== diffIds[at])
        throw damaged(file, `the layer ${name} is not the one that its image lists`);
      layers.push({
        ...layer,
        mediaType: compression === undefined ? layerType : `${layerType}+${compression}`,
      });
    }
    const bytes = Buffer.from(
      canonicalJson({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers }),
    );
    images.push({
      digest: (await layout.pushManifest(bytes, mediaTypes.ociManifest)).digest,
      names: item.names,
    });
  }
  return images;
}

function itemsOf(file: string, manifest: Uint8Array): readonly Item[] {
  const list: unknown = parsed(file, manifest, 'manifest.json');
  if (!Array.isArray(list) || list.length > mostImages)
    throw damaged(file, `its manifest.json is not a list of at most ${mostImages} images`);
  return list.map((each: unknown): Item => {
    const fields = recordOf(each);
    const { Config: config, RepoTags: names, Layers: layers } = fields ?? {};
    if (
      typeof config !== 'string' ||
      !isTexts(layers) ||
      layers.length > mostLayers ||
      !(isTexts(names) || names === undefined || names === null)
    )
      throw damaged(file, 'its manifest.json does not have the form that docker writes');
    return { config, layers, names: names ?? [] };
  });
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((each) => typeof each === 'string');

function described(file: string, files: ArchiveFiles, name: string, mediaType: string): Descriptor {
  const found = files.find(name);
  if (found === undefined) throw damaged(file, `it does not contain ${JSON.stringify(name.slice(0, 100))}`);
  return { mediaType, digest: found.digest, size: found.size };
}

const mostConfigBytes = 4 * 1024 * 1024;

async function diffIdsOf(
  file: string,
  layout: LayoutRepository,
  config: Descriptor,
): Promise<readonly unknown[]> {
  const fields = recordOf(parsed(file, await layout.blobBytes(config, mostConfigBytes), 'configuration'));
  const diffIds: unknown = recordOf(fields?.['rootfs'])?.['diff_ids'];
  return Array.isArray(diffIds) ? (diffIds as unknown[]) : [];
}

function parsed(file: string, bytes: Uint8Array, what: string): unknown {
  try {
    return parseStrictJson(bytes);
  } catch (error) {
    throw damaged(
      file,
      `its ${what} cannot be read: ${error instanceof Error ? error.message : 'it is not JSON'}`,
    );
  }
}

async function headOf(file: string): Promise<Uint8Array> {
  await using handle = await open(file);
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(4), 0, 4, 0);
  return buffer.subarray(0, bytesRead);
}
