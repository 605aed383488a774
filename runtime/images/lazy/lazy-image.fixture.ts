import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { mkdtempSync, rmSync } from 'node:fs';
import { createHttpServer, httpRequest as send } from '../../../base/connections/index.ts';
import { attestImage } from '../../../trust/index.ts';
import { pushImage } from '../test-kit.ts';
import type { Kit } from '../test-kit.ts';
import { chunkIndexTypes, encodeChunkIndex, parseChunkIndex, sha256Hex } from './chunk-index.ts';
import type { ChunkIndexPredicate } from './chunk-index.ts';
import { headBytes, pageBytes, roundUp } from '../erofs/format.ts';
import type { RegistryRepository } from '../../../base/distribution/index.ts';
import { makeChunkIndex } from './make-chunk-index.ts';

/** Images that are started lazily, for tests. Not part of the product. */

/** Compresses an archive in members, each of which is a chunk. */
export function inMembers(archive: Uint8Array, bytes: number): Buffer {
  const members: Buffer[] = [];
  for (let at = 0; at < archive.length; at += bytes)
    members.push(gzipSync(archive.subarray(at, at + bytes), { level: 0 }));
  return Buffer.concat(members);
}

/**
 * Pushes a signed image with a signed chunk index.
 * @param change changes the metadata of the only layer, behind its head: the publisher signs that it belongs
 * to the archive
 */
export async function pushLazyImage(
  kit: Kit,
  name: string,
  archives: readonly Uint8Array[],
  chunkBytes: number,
  change?: (metadata: Buffer) => void,
): Promise<string> {
  const repository = kit.repository(name);
  const layers = archives.map((tar) => ({ tar, blob: inMembers(tar, chunkBytes) }));
  const { digest } = await pushImage(repository, { layers, tag: '1' });
  await kit.sign(name, digest);
  const folder = mkdtempSync('/var/tmp/portcullis-index-');
  try {
    const made = await makeChunkIndex({ repository, digest, folder });
    const predicate = change === undefined ? made : await otherIndex(repository, made, change);
    await attestImage({
      repository,
      digest,
      key: kit.key,
      type: 'chunk-index',
      predicate,
      format: 'bundle',
      now: new Date(),
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
  return digest;
}

/** Pushes an index whose metadata differs from the metadata of the archive. */
async function otherIndex(
  repository: RegistryRepository,
  { images: [made] }: ChunkIndexPredicate,
  change: (metadata: Buffer) => void,
): Promise<ChunkIndexPredicate> {
  if (made === undefined) throw new Error('there is no index');
  const { bytes } = await repository.manifest(made.artifact.digest);
  const manifest = JSON.parse(Buffer.from(bytes).toString()) as {
    layers: { digest: string; size: number }[];
  };
  const [indexBlob, metadataBlob] = manifest.layers;
  if (indexBlob === undefined || metadataBlob === undefined) throw new Error('the index has no layer');
  const index = parseChunkIndex(await repository.blobBytes(indexBlob, 1e8), 'index');
  const metadata = Buffer.from(await repository.blobBytes(metadataBlob, 1e8));
  const behind = metadata.subarray(headBytes);
  change(behind);
  const layers = index.layers.map((layer) => {
    const end = headBytes + layer.archiveBytes;
    const hash = createHash('sha256')
      .update(Buffer.alloc(roundUp(end, pageBytes) - end))
      .update(behind);
    const metadataSha256 = hash.update(metadata.subarray(0, headBytes)).digest('hex');
    const digest = `sha256:${sha256Hex(metadata)}`;
    return { ...layer, metadataSha256, metadata: { digest, size: metadata.length } };
  });
  Object.assign(metadataBlob, await repository.pushBlob(metadata));
  Object.assign(indexBlob, await repository.pushBlob(encodeChunkIndex({ ...index, layers })), {
    mediaType: chunkIndexTypes.index,
  });
  const changed = Buffer.from(JSON.stringify(manifest));
  const { digest } = await repository.pushReferrer(changed, 'application/vnd.oci.image.manifest.v1+json');
  return { images: [{ ...made, artifact: { digest, size: changed.length } }] };
}

/** How a proxy changes the answer to a request for a part of a blob. */
export type PartFault = (path: string, range: string) => 'pass' | 'corrupt' | 'hang' | 'fail';

export interface BlobProxy {
  /** `127.0.0.1:PORT`: a registry in front of another one. */
  readonly host: string;
  /** Replaces the fault of parts. */
  use(fault: PartFault): void;
  /** Requests for parts, as `DIGEST RANGE`. */
  readonly parts: string[];
  /** The rate at which it sends, in bits per second; undefined: no limit. */
  limit(bitsPerSecond: number | undefined): void;
  close(): Promise<void>;
}

/**
 * Starts a proxy before a registry. It forwards everything, except for the changes that the test requests.
 */
export async function startBlobProxy(target: string): Promise<BlobProxy> {
  let fault: PartFault = () => 'pass';
  let rate: number | undefined;
  let freeAt = 0;
  const parts: string[] = [];
  const [hostname, port] = target.split(':');
  const pace = async (bytes: number): Promise<void> => {
    if (rate === undefined) return;
    const now = performance.now();
    freeAt = Math.max(freeAt, now) + (bytes * 8 * 1000) / rate;
    if (freeAt - now > 1) await new Promise((resolve) => setTimeout(resolve, freeAt - now));
  };
  const server = createHttpServer((request: IncomingMessage, response: ServerResponse) => {
    const { range } = request.headers;
    const path = request.url ?? '';
    const what = range === undefined ? 'pass' : fault(path, range);
    if (range !== undefined) parts.push(`${path.split('/').at(-1) ?? ''} ${range}`);
    if (what === 'hang') return;
    if (what === 'fail') {
      response.writeHead(503).end();
      return;
    }
    const onward = send(
      { hostname, port, path, method: request.method, headers: { ...request.headers, host: target } },
      (answer) => {
        const { location } = answer.headers;
        const headers = { ...answer.headers };
        if (location !== undefined)
          headers.location = location.replace(target, request.headers.host ?? target);
        response.writeHead(answer.statusCode ?? 500, headers);
        void (async () => {
          try {
            for await (const chunk of answer as AsyncIterable<Buffer>) {
              await pace(chunk.length);
              if (what === 'corrupt') chunk[chunk.length - 1] = (chunk.at(-1) ?? 0) ^ 1;
              if (!response.write(chunk)) await new Promise((resolve) => response.once('drain', resolve));
            }
            response.end();
          } catch {
            response.destroy();
          }
        })();
      },
    );
    onward.on('error', () => response.destroy());
    request.pipe(onward);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    use: (next) => void (fault = next),
    parts,
    limit: (bits) => void (rate = bits),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}
