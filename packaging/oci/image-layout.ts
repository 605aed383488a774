import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { mediaTypes } from '../../base/distribution/index.ts';
import type { PackageFile } from '../archives/files.ts';
import { tarOf } from '../archives/tar.ts';
import type { OwnedFolder } from '../archives/tar.ts';
import type { Architecture } from '../deb/control.ts';

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

export interface Layer extends Descriptor {
  readonly diffId: string;
  /** The content of the layer in words, for the history. */
  readonly content: string;
}

/** How an image starts (image-spec, config.md). */
export interface Start {
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
  readonly port?: number;
}

export interface PlatformImage {
  readonly architecture: Architecture;
  readonly layers: readonly Layer[];
  readonly start: Start;
}

const layerType = 'application/vnd.oci.image.layer.v1.tar+gzip';
const configType = 'application/vnd.oci.image.config.v1+json';

/** The highest level needs several times the time for less than 1 % of the size. */
const compressionLevel = 6;

/** Writes OCI images into a folder (image-spec, image-layout.md): the same content gives the same bytes. */
export class ImageLayout {
  readonly #folder: string;
  readonly #time: number;
  readonly #images: object[] = [];

  /** @param time time of everything in it, in seconds since 1970 */
  constructor(folder: string, time: number) {
    this.#folder = folder;
    this.#time = time;
    mkdirSync(join(folder, 'blobs/sha256'), { recursive: true });
  }

  /** Writes a layer. Equal layers of several images are one blob. */
  async layer(
    content: string,
    files: readonly PackageFile[],
    owned: readonly OwnedFolder[] = [],
  ): Promise<Layer> {
    const tar = await tarOf(files, { time: this.#time, prefix: '', folders: true, owned });
    const blob = this.#blob(gzipSync(tar, { level: compressionLevel }), layerType);
    return { ...blob, diffId: digestOf(tar), content };
  }

  /** Writes an image for several platforms, and gives it a tag. Returns the descriptor of its index. */
  image(
    tag: string,
    platforms: readonly PlatformImage[],
    labels: Readonly<Record<string, string>>,
  ): Descriptor {
    const manifests = platforms.map((platform) => ({
      ...this.#manifest(platform, labels),
      platform: { architecture: platform.architecture, os: 'linux' },
    }));
    const index = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociIndex,
      manifests,
      annotations: labels,
    };
    const descriptor = this.#json(index, mediaTypes.ociIndex);
    this.#images.push({ ...descriptor, annotations: { 'org.opencontainers.image.ref.name': tag } });
    return descriptor;
  }

  /** Writes `index.json`: before, no tool sees an image. */
  finish(): void {
    writeFileSync(join(this.#folder, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}');
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: this.#images };
    writeFileSync(join(this.#folder, 'index.json'), JSON.stringify(index));
  }

  #manifest(
    { architecture, layers, start }: PlatformImage,
    labels: Readonly<Record<string, string>>,
  ): Descriptor {
    const created = new Date(this.#time * 1000).toISOString();
    const { user, entrypoint, command, port } = start;
    const config = this.#json(
      {
        created,
        architecture,
        os: 'linux',
        config: {
          User: user,
          Env: ['PATH=/usr/bin', 'NODE_ENV=production'],
          Entrypoint: entrypoint,
          Cmd: command,
          WorkingDir: '/',
          StopSignal: 'SIGTERM',
          ...(port === undefined ? {} : { ExposedPorts: { [`${port}/tcp`]: {} } }),
          Labels: labels,
        },
        rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
        history: layers.map(({ content }) => ({ created, created_by: content })),
      },
      configType,
    );
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config,
      layers: layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
      annotations: labels,
    };
    return this.#json(manifest, mediaTypes.ociManifest);
  }

  #json(value: object, mediaType: string): Descriptor {
    return this.#blob(Buffer.from(JSON.stringify(value)), mediaType);
  }

  #blob(bytes: Buffer, mediaType: string): Descriptor {
    const digest = digestOf(bytes);
    writeFileSync(join(this.#folder, 'blobs', digest.replace(':', '/')), bytes);
    return { mediaType, digest, size: bytes.length };
  }
}

function digestOf(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
