import { createReadStream } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf, parseManifest } from '../../base/distribution/index.ts';
import type { Descriptor, FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { ociManifestType } from '../evidence/cosign-names.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';

/** image-spec, image-layout.md. */
const tagAnnotation = 'org.opencontainers.image.ref.name';
const indexType = 'application/vnd.oci.image.index.v1+json';
const mostManifestBytes = 4 * 1024 * 1024;

interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly tag?: string;
  readonly subject?: string;
}

/**
 * A repository in a folder, as an OCI image layout: the content of a registry repository without a registry.
 */
export interface LayoutRepository extends RegistryRepository {
  /** Writes `index.json`. Before that, only this process knows what was pushed. */
  finish(): Promise<void>;
}

/**
 * Opens a layout.
 * @throws PortcullisError TRUST_ARCHIVE_DAMAGED when the folder is not a valid layout
 */
export async function openLayout(folder: string): Promise<LayoutRepository> {
  const blobs = join(folder, 'blobs', 'sha256');
  const entries = await readIndex(folder);
  const fileOf = (digest: string): string => {
    const [, hex] = /^sha256:([0-9a-f]{64})$/u.exec(digest) ?? [];
    if (hex === undefined) throw damaged(digest, 'only sha256 is held here');
    return join(blobs, hex);
  };
  const read = async (digest: string, limit: number): Promise<Buffer> => {
    const file = fileOf(digest);
    const facts = await stat(file).catch(() => undefined);
    if (facts === undefined) throw missing(digest);
    if (facts.size > limit) throw damaged(digest, `it has ${facts.size} bytes; ${limit} are allowed`);
    const bytes = await readFile(file);
    if (digestOf(bytes) !== digest) throw damaged(digest, 'its bytes are not what the digest says');
    return bytes;
  };
  const keep = async (bytes: Uint8Array): Promise<Descriptor> => {
    const digest = digestOf(bytes);
    await mkdir(blobs, { recursive: true });
    await writeFile(fileOf(digest), bytes);
    return { mediaType: 'application/octet-stream', digest, size: bytes.length };
  };
  const find = (wanted: string): Entry => {
    const entry = entries.find(({ tag }) => tag === wanted) ?? entries.find(({ digest }) => digest === wanted);
    if (entry === undefined) throw missing(wanted);
    return entry;
  };
  const manifest = async (wanted: Parameters<RegistryRepository['manifest']>[0]): Promise<FetchedManifest> => {
    const { digest, mediaType } = typeof wanted === 'string' ? find(wanted) : find(wanted.digest);
    const bytes = await read(digest, mostManifestBytes);
    return { bytes, mediaType, digest, content: parseManifest(bytes, mediaType, { attempted: 'read manifest', on: digest }) };
  };
  const pushManifest: RegistryRepository['pushManifest'] = async (bytes, mediaType, { tag } = {}) => {
    const { digest, size } = await keep(bytes);
    const { subject } = parseManifest(bytes, mediaType, { attempted: 'keep manifest', on: digest });
    const entry: Entry = {
      mediaType,
      digest,
      size,
      ...(tag === undefined ? {} : { tag }),
      ...(subject === undefined ? {} : { subject: subject.digest }),
    };
    const at = entries.findIndex((one) => (tag === undefined ? one.digest === digest : one.tag === tag));
    if (at === -1) entries.push(entry);
    else if (tag !== undefined) entries[at] = entry;
    return { digest, ...(subject === undefined ? {} : { subject: subject.digest }) };
  };

  return {
    host: 'archive',
    repository: folder,
    answersTags: true,
    async resolve(tagOrDigest) {
      const { mediaType, digest, size } = find(tagOrDigest);
      return { mediaType, digest, size };
    },
    manifest,
    async blob({ digest, size }) {
      // The content is checked before its first byte is returned.
      await read(digest, size);
      return createReadStream(fileOf(digest));
    },
    async blobBytes({ digest, size }, limit) {
      return read(digest, Math.min(size, limit));
    },
    async referrers(digest, { artifactType } = {}) {
      const found = entries.filter(({ subject }) => subject === digest);
      const descriptors = await Promise.all(
        found.map(async (entry): Promise<Descriptor> => {
          const { content } = await manifest(entry.digest);
          const type = content.artifactType ?? (content.kind === 'manifest' ? content.config.mediaType : undefined);
          return {
            mediaType: entry.mediaType,
            digest: entry.digest,
            size: entry.size,
            annotations: content.annotations,
            ...(type === undefined ? {} : { artifactType: type }),
          };
        }),
      );
      const wanted = descriptors.filter((one) => artifactType === undefined || one.artifactType === artifactType);
      return { via: 'referrers', descriptors: wanted, complete: true };
    },
    pushBlob: keep,
    pushManifest,
    async pushReferrer(bytes, mediaType) {
      const { digest } = await pushManifest(bytes, mediaType);
      return { digest, via: 'referrers' };
    },
    addUnderTag: () => Promise.reject(damaged(folder, 'signatures cannot be added to an archive')),
    async finish() {
      const manifests = entries.map(({ mediaType, digest, size, tag }) => ({
        mediaType,
        digest,
        size,
        ...(tag === undefined ? {} : { annotations: { [tagAnnotation]: tag } }),
      }));
      await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
      await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }));
    },
  };
}

async function readIndex(folder: string): Promise<Entry[]> {
  const bytes = await readFile(join(folder, 'index.json')).catch(() => undefined);
  if (bytes === undefined) return [];
  try {
    const { content } = { content: parseManifest(bytes, indexType, { attempted: 'read layout', on: folder }) };
    if (content.kind !== 'index') throw new Error('it is no index');
    return await Promise.all(
      content.manifests.map(async ({ mediaType, digest, size, annotations }): Promise<Entry> => {
        const tag = annotations?.[tagAnnotation];
        const file = join(folder, 'blobs', 'sha256', digest.replace(/^sha256:/u, ''));
        if ((await stat(file)).size > mostManifestBytes) throw new Error(`${digest} is too large for a manifest`);
        const manifest = await readFile(file);
        const subject = recordOf(recordOf(parseStrictJson(manifest))?.['subject'])?.['digest'];
        return {
          mediaType: mediaType === '' ? ociManifestType : mediaType,
          digest,
          size,
          ...(tag === undefined ? {} : { tag }),
          ...(typeof subject === 'string' ? { subject } : {}),
        };
      }),
    );
  } catch (error) {
    throw damaged(folder, error instanceof Error ? error.message : 'it cannot be read');
  }
}

function missing(on: string): PortcullisError {
  return new PortcullisError({
    // As a registry reports it.
    code: 'DISTRIBUTION_NOT_FOUND',
    kind: 'not-found',
    attempted: 'read archive',
    on,
    why: 'the archive does not hold it',
    fix: 'create the archive again',
  });
}

export function damaged(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_ARCHIVE_DAMAGED',
    kind: 'invalid',
    attempted: 'read archive',
    on,
    why,
    fix: 'create the archive again',
  });
}
