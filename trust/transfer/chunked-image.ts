import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable, pipeline } from 'node:stream';
import { promisify } from 'node:util';
import { createGunzip, createZstdDecompress, gzip } from 'node:zlib';
import { orAbsent } from '../../base/distribution/index.ts';
import type { FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { isZstd } from '../../base/inflate/index.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { failure } from './archive.ts';
import { foreignLayer } from './copy-image.ts';
import type { CopiedImage, CopyImageInput } from './copy-image.ts';
import { inTemporary } from './temporary.ts';

/** Uncompressed bytes of one part. Larger ones compress better; a node fetches a whole part for each read. */
const partBytes = 1024 * 1024;

const gzipPart = promisify(gzip);

/** Image manifests, and the type that a layer of gzip has in each. */
const layerTypes: Readonly<Record<string, string>> = {
  'application/vnd.oci.image.manifest.v1+json': 'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.docker.distribution.manifest.v2+json': 'application/vnd.docker.image.rootfs.diff.tar.gzip',
};
const configTypes = /^application\/vnd\.(?:oci\.image\.config\.v1|docker\.container\.image\.v1)\+json$/u;

/**
 * Copies an image with every layer compressed in parts that can be fetched alone: a gzip member for each MiB
 * (RFC 1952, section 2.2), which every reader of gzip reads as before. The content, the diff ids and the
 * configuration stay what they are; manifests and their digests change, so signatures and attestations of the
 * image are not copied. Non-distributable layers are copied as they are, if the source has them: clients get
 * them from their publisher, by their digest.
 * @throws PortcullisError of base/distribution; `TRUST_ARCHIVE_DAMAGED` for a layer that is not compressed as
 * it says
 */
export async function copyChunked(input: CopyImageInput): Promise<CopiedImage> {
  const { from, to, reference, wanted, tag } = input;
  let manifests = 0;
  const blobs = new Map<string, { readonly digest: string; readonly size: number }>();

  async function image(fetched: FetchedManifest, folder: string): Promise<{ digest: string; size: number }> {
    const { content, mediaType, bytes } = fetched;
    const value = recordOf(parseStrictJson(bytes)) ?? {};
    if (content.kind === 'index') {
      const said = value['manifests'] as readonly Readonly<Record<string, unknown>>[];
      const children: unknown[] = [];
      for (const [at, child] of content.manifests.entries()) {
        const own = await from.manifest(child);
        // BuildKit lists attestations beside the images that they are about: those are other images now.
        if (own.content.kind !== 'manifest' || !configTypes.test(own.content.config.mediaType)) continue;
        if (child.platform?.os === 'unknown') continue;
        children.push({ ...said[at], ...(await image(own, folder)) });
      }
      return push({ ...value, manifests: children }, mediaType);
    }
    const type = layerTypes[mediaType];
    if (type === undefined || !configTypes.test(content.config.mediaType))
      throw failure(
        'TRUST_ARCHIVE_DAMAGED',
        fetched.digest,
        'it is not an image',
        'push it without --chunked',
      );
    await to.pushBlobFrom(content.config, () => from.blob(content.config));
    const said = value['layers'] as readonly Readonly<Record<string, unknown>>[];
    const layers: unknown[] = [];
    for (const [at, layer] of content.layers.entries()) {
      if (foreignLayer.test(layer.mediaType)) {
        await orAbsent(to.pushBlobFrom(layer, () => from.blob(layer)));
        layers.push(said[at]);
        continue;
      }
      const blob = blobs.get(layer.digest) ?? (await copyLayer(from, to, layer, join(folder, 'layer')));
      blobs.set(layer.digest, blob);
      layers.push({ ...said[at], mediaType: type, ...blob });
    }
    return push({ ...value, layers }, mediaType);
  }

  async function push(value: object, mediaType: string): Promise<{ digest: string; size: number }> {
    const bytes = Buffer.from(JSON.stringify(value));
    const { digest } = await to.pushManifest(bytes, mediaType);
    manifests += 1;
    return { digest, size: bytes.length };
  }

  const top = await from.manifest(wanted);
  const { digest } = await inTemporary('portcullis-chunked-', (folder) => image(top, folder));
  if (tag !== undefined) {
    const { bytes, mediaType } = await to.manifest(digest);
    await to.pushManifest(bytes, mediaType, { tag });
  }
  return { reference, digest, manifests, evidence: 0, metadata: false };
}

async function copyLayer(
  from: RegistryRepository,
  to: RegistryRepository,
  layer: { readonly digest: string; readonly size: number },
  path: string,
): Promise<{ readonly digest: string; readonly size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  try {
    await using file = await open(path, 'w', 0o600);
    for await (const part of inParts(decompressed(await from.blob(layer), layer.digest))) {
      hash.update(part);
      size += part.length;
      await file.writeFile(part);
    }
    const blob = { digest: `sha256:${hash.digest('hex')}`, size };
    await to.pushBlobFrom(blob, () => createReadStream(path));
    return blob;
  } finally {
    await rm(path, { force: true });
  }
}

/** Compresses a stream in members of gzip. The same bytes give the same members. */
export async function* inParts(stream: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  let part: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    for (let at = 0; at < chunk.length;) {
      const taken = chunk.subarray(at, at + partBytes - bytes);
      part.push(taken);
      bytes += taken.length;
      at += taken.length;
      if (bytes < partBytes) continue;
      yield await gzipPart(Buffer.concat(part));
      [part, bytes] = [[], 0];
    }
  }
  if (bytes > 0) yield await gzipPart(Buffer.concat(part));
}

/** Decompresses gzip, zstd or nothing: the first bytes say which. */
async function* decompressed(stream: AsyncIterable<Uint8Array>, on: string): AsyncGenerator<Uint8Array> {
  const source = Readable.from(stream);
  const first = await new Promise<Buffer>((resolve, reject) => {
    source.once('error', reject);
    source.once('readable', () => {
      const chunk = source.read() as Uint8Array | null;
      const bytes = Buffer.from(chunk ?? []);
      if (bytes.length > 0) source.unshift(bytes);
      resolve(bytes);
    });
  });
  const decoder =
    first[0] === 0x1f && first[1] === 0x8b
      ? createGunzip()
      : isZstd(first)
        ? createZstdDecompress()
        : undefined;
  if (decoder === undefined) {
    yield* source as AsyncIterable<Uint8Array>;
    return;
  }
  pipeline(source, decoder, () => undefined);
  try {
    yield* decoder as AsyncIterable<Buffer>;
  } catch (thrown) {
    const code = (thrown as NodeJS.ErrnoException).code ?? '';
    if (!/^(?:Z_|ZSTD|ERR_ZSTD|ERR_ZLIB)/u.test(code)) throw thrown;
    throw failure(
      'TRUST_ARCHIVE_DAMAGED',
      on,
      `the layer cannot be decompressed (${code})`,
      'build it again',
    );
  }
}
