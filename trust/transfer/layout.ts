import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { digestOf, isDigest, mediaTypes, orAbsent, parseManifest } from '../../base/distribution/index.ts';
import type {
  Descriptor,
  FetchedManifest,
  Manifest,
  RegistryRepository,
  SharedList,
} from '../../base/distribution/index.ts';
import { errnoOf, fileReason, isPortcullisError, meansGone } from '../../base/errors/index.ts';
import { readFilePart } from '../../base/files/index.ts';
import type { FilePart } from '../../base/files/index.ts';
import { ociManifestType } from '../evidence/cosign-names.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';
import { damageCode, damaged, missing } from './archive-errors.ts';
import { checked, startSum } from './checked-bytes.ts';

/** image-spec, image-layout.md. */
const tagAnnotation = 'org.opencontainers.image.ref.name';
/** The whole name, as containerd and docker since version 25 write it. */
const nameAnnotation = 'io.containerd.image.name';
const indexType = 'application/vnd.oci.image.index.v1+json';
const manifestTypes: readonly string[] = Object.values(mediaTypes);
const mostManifestBytes = 4 * 1024 * 1024;

interface Entry {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly tag?: string;
  readonly name?: string;
  readonly subject?: string;
  /** Digests of the manifests that an index lists. */
  readonly children: readonly string[];
}

/** How the files of a layout are read. */
export interface LayoutFiles {
  /**
   * Reads at most `most` bytes of a regular file from `start` on. Does not follow a link at the end of the
   * path: it could name a file outside the layout.
   * @throws the system's Error, with its `code`; PortcullisError when the file system does not answer
   */
  part(path: string, start: number, most: number): Promise<FilePart>;
}

/** Bytes that are read at a time. */
const partBytes = 1024 * 1024;
const filesHere: LayoutFiles = { part: readFilePart };

/** An image of a layout that nothing else in the layout refers to, and that refers to no other one. */
export interface LayoutImage {
  readonly digest: string;
  readonly tag?: string;
  /** The whole name, where the layout has it: `registry.example.com/pay/app:1.0`. */
  readonly name?: string;
}

/**
 * A repository in a folder, as an OCI image layout: the content of a registry repository without a registry.
 */
export interface LayoutRepository extends RegistryRepository {
  /**
   * Writes `index.json`. Before that, only this process knows what was pushed.
   * @param options.children false: the manifests that an index lists are not listed again, as other tools
   * expect
   */
  finish(options?: { readonly children?: boolean }): Promise<void>;
  /** Returns the images, without signatures, attestations and what else belongs to an image. */
  images(): readonly LayoutImage[];
}

/**
 * Opens a layout.
 * @param files reads its files; without it, this process does, and waits for their file system
 * @throws PortcullisError TRUST_ARCHIVE_DAMAGED when the folder is not a valid layout
 */
export async function openLayout(folder: string, files: LayoutFiles = filesHere): Promise<LayoutRepository> {
  const blobs = join(folder, 'blobs', 'sha256');
  const entries = await readIndex(folder, files);
  const fileOf = (digest: string): string => {
    const [, hex] = /^sha256:([0-9a-f]{64})$/u.exec(digest) ?? [];
    if (hex === undefined) throw damaged(digest, 'only sha256 digests are supported');
    return join(blobs, hex);
  };
  const readBlob = async (digest: string, limit: number): Promise<Buffer> => {
    const bytes = await read(files, fileOf(digest), digest, limit);
    if (digestOf(bytes) !== digest) throw damaged(digest, 'its bytes do not match the digest');
    return bytes;
  };
  const keep = async (bytes: Uint8Array): Promise<Descriptor> => {
    const digest = digestOf(bytes);
    await mkdir(blobs, { recursive: true });
    await writeFile(fileOf(digest), bytes);
    return { mediaType: 'application/octet-stream', digest, size: bytes.length };
  };
  const find = async (wanted: string): Promise<Descriptor> => {
    // A layout can have any text as a tag, also the digest of another manifest.
    const entry = entries.find(({ digest, tag }) => (isDigest(wanted) ? digest : tag) === wanted);
    if (entry !== undefined) return { mediaType: entry.mediaType, digest: entry.digest, size: entry.size };
    if (!entries.some(({ children }) => children.includes(wanted))) throw missing(wanted);
    // A manifest that an index lists, and index.json does not.
    const bytes = await readBlob(wanted, mostManifestBytes);
    return { mediaType: typeIn(bytes), digest: wanted, size: bytes.length };
  };
  const manifest = async (
    wanted: Parameters<RegistryRepository['manifest']>[0],
  ): Promise<FetchedManifest> => {
    // A manifest that an index lists need not be listed in index.json: its descriptor is in the index.
    const { digest, mediaType } = typeof wanted === 'string' ? await find(wanted) : wanted;
    const bytes = await readBlob(digest, mostManifestBytes);
    return {
      bytes,
      mediaType,
      digest,
      content: parseManifest(bytes, mediaType, { attempted: 'read manifest', on: digest }),
    };
  };
  const pushManifest: RegistryRepository['pushManifest'] = async (bytes, mediaType, { tag } = {}) => {
    const { digest, size } = await keep(bytes);
    const content = parseManifest(bytes, mediaType, { attempted: 'keep manifest', on: digest });
    const { subject } = content;
    const entry: Entry = {
      mediaType,
      digest,
      size,
      children: childrenOf(content),
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
    resolve: (tagOrDigest) => find(tagOrDigest),
    manifest,
    async blob({ digest, size }, signal, begun) {
      const found = await partOf(files, fileOf(digest), digest, 0, 0);
      if (found.size !== size) throw damaged(digest, `it is not a file of ${size} bytes`);
      return checkedBytes(files, fileOf(digest), { digest, size }, { begun, signal });
    },
    async blobPart({ digest, size }, { offset, length }) {
      const bytes = await readBlob(digest, size);
      return bytes.subarray(offset, offset + length);
    },
    async blobBytes({ digest, size }, limit) {
      return readBlob(digest, Math.min(size, limit));
    },
    async referrers(digest, { artifactType } = {}) {
      const found = entries.filter(({ subject }) => subject === digest);
      const descriptors = await Promise.all(
        found.map(async (entry) => referrerOf(entry, (await manifest(entry.digest)).content)),
      );
      const wanted = descriptors.filter(
        (one) => artifactType === undefined || one.artifactType === artifactType,
      );
      return { via: 'referrers', descriptors: wanted, complete: true };
    },
    pushBlob: keep,
    pushManifest,
    async pushReferrer(bytes, mediaType) {
      const { digest } = await pushManifest(bytes, mediaType);
      return { digest, via: 'referrers' };
    },
    addUnderTag: async (tag, list) => withEntries(await orAbsent(manifest(tag)), list, tag, pushManifest),
    images: () => imagesAmong(entries),
    async pushBlobFrom({ digest, size }, source) {
      const file = fileOf(digest);
      await mkdir(blobs, { recursive: true });
      // Under its name only when it is complete.
      const partial = `${file}.part`;
      try {
        await writeFile(partial, checked(await source(), digest, size), { flag: 'wx' });
        await rename(partial, file);
      } catch (error) {
        await rm(partial, { force: true });
        throw error;
      }
    },
    async finish({ children = true } = {}) {
      const manifests = listedManifests(entries, children);
      await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }));
      await writeFile(
        join(folder, 'index.json'),
        JSON.stringify({ schemaVersion: 2, mediaType: indexType, manifests }),
      );
    },
  };
}

/** Adds the entries that the list under a tag lacks. @returns the digest of the manifest that has them */
async function withEntries(
  found: FetchedManifest | undefined,
  list: SharedList,
  tag: string,
  push: RegistryRepository['pushManifest'],
): Promise<string> {
  const present = found === undefined ? [] : list.entriesOf(found);
  const keys = new Set(present.map((entry) => list.keyOf(entry)));
  const lacked = list.added.filter((entry) => !keys.has(list.keyOf(entry)));
  if (found !== undefined && lacked.length === 0) return found.digest;
  const fields = found === undefined ? {} : (recordOf(parseStrictJson(found.bytes)) ?? {});
  const bytes = await list.build([...present, ...lacked], fields);
  return (await push(bytes, list.mediaType, { tag })).digest;
}

/** Returns the descriptor of an entry as the referrers API lists it. */
function referrerOf({ mediaType, digest, size }: Entry, content: FetchedManifest['content']): Descriptor {
  const type = content.artifactType ?? (content.kind === 'manifest' ? content.config.mediaType : undefined);
  return {
    mediaType,
    digest,
    size,
    annotations: content.annotations,
    ...(type === undefined ? {} : { artifactType: type }),
  };
}

/** Returns the manifests of `index.json`. */
function listedManifests(entries: readonly Entry[], children: boolean): readonly object[] {
  const tagged = entries.filter(({ tag }) => tag !== undefined).map(({ digest }) => digest);
  const inside = new Set(children ? [] : [...tagged, ...entries.flatMap((entry) => entry.children)]);
  const listed = entries.filter(({ digest, tag }) => tag !== undefined || !inside.has(digest));
  return listed.map(({ mediaType, digest, size, tag }) => ({
    mediaType,
    digest,
    size,
    ...(tag === undefined ? {} : { annotations: { [tagAnnotation]: tag } }),
  }));
}

async function read(files: LayoutFiles, path: string, on: string, limit: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { bytes, size } = await partOf(files, path, on, length, partBytes);
    if (size > limit) throw damaged(on, `it has ${size} bytes; ${limit} are allowed`);
    chunks.push(bytes);
    length += bytes.length;
    if (length >= size) return Buffer.concat(chunks, length);
    if (bytes.length === 0) throw damaged(on, 'it was truncated while it was read');
  }
}

async function partOf(
  files: LayoutFiles,
  path: string,
  on: string,
  start: number,
  most: number,
): Promise<Extract<FilePart, { size: number }>> {
  const part = await files.part(path, start, most).catch((error: unknown) => {
    if (isPortcullisError(error)) throw error;
    if (meansGone(error)) throw missing(on);
    if (errnoOf(error) === 'ELOOP') throw damaged(on, 'it is a symbolic link', 'put the file in its place');
    throw damaged(on, fileReason(error, path));
  });
  if ('refused' in part) throw damaged(on, 'it is not a regular file');
  return part;
}

/**
 * Yields what follows the bytes of `begun`, which count for digest and size. The signal ends the
 * reading with its reason.
 */
async function* checkedBytes(
  files: LayoutFiles,
  path: string,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  {
    begun = [],
    signal,
  }: {
    readonly begun: AsyncIterable<Uint8Array> | Iterable<Uint8Array> | undefined;
    readonly signal: AbortSignal | undefined;
  },
): AsyncIterable<Uint8Array> {
  const sum = startSum(digest, size);
  for await (const chunk of begun) sum.add(chunk);
  for (;;) {
    signal?.throwIfAborted();
    const { bytes } = await partOf(files, path, digest, sum.length(), partBytes);
    if (bytes.length === 0) break;
    sum.add(bytes);
    yield bytes;
  }
  sum.end();
}

async function readIndex(folder: string, files: LayoutFiles): Promise<Entry[]> {
  const file = join(folder, 'index.json');
  const bytes = await read(files, file, file, mostManifestBytes).catch((error: unknown) => {
    if (isPortcullisError(error) && error.kind === 'not-found') return undefined;
    throw error;
  });
  if (bytes === undefined) return [];
  try {
    const content = parseManifest(bytes, indexType, { attempted: 'read layout', on: folder });
    if (content.kind !== 'index') throw new Error('it is not an index');
    // An index may list one manifest any number of times.
    const links = new Map<string, Pick<Entry, 'subject' | 'children'>>();
    const entries: Entry[] = [];
    for (const { mediaType, digest, size, annotations } of content.manifests) {
      // A layout may list anything, and an unknown type is not an error (image-spec, image-layout.md).
      if (mediaType !== '' && !manifestTypes.includes(mediaType)) continue;
      const { [tagAnnotation]: tag, [nameAnnotation]: name } = annotations ?? {};
      const known = links.get(digest) ?? (await linksOf(folder, digest, files));
      links.set(digest, known);
      entries.push({
        mediaType: mediaType === '' ? ociManifestType : mediaType,
        digest,
        size,
        ...(tag === undefined ? {} : { tag }),
        ...(name === undefined ? {} : { name }),
        ...known,
      });
    }
    return entries;
  } catch (error) {
    if (isPortcullisError(error) && error.code === damageCode) throw error;
    throw damaged(folder, fileReason(error, folder));
  }
}

/** Returns the digests that a manifest refers to. Its own digest is checked when it is used. */
async function linksOf(
  folder: string,
  digest: string,
  files: LayoutFiles,
): Promise<Pick<Entry, 'subject' | 'children'>> {
  const file = join(folder, 'blobs', 'sha256', digest.replace(/^sha256:/u, ''));
  const bytes = await orAbsent(read(files, file, digest, mostManifestBytes));
  // Other images of the layout can be complete.
  if (bytes === undefined) return { children: [] };
  const fields = recordOf(parseStrictJson(bytes));
  const subject = recordOf(fields?.['subject'])?.['digest'];
  const manifests: unknown = fields?.['manifests'];
  const children = (Array.isArray(manifests) ? manifests : [])
    .map((each: unknown) => recordOf(each)?.['digest'])
    .filter((each) => typeof each === 'string');
  return { children, ...(typeof subject === 'string' ? { subject } : {}) };
}

/** Returns the type that a manifest names. Bytes that are no manifest are refused when they are parsed. */
function typeIn(bytes: Uint8Array): string {
  try {
    const type = recordOf(parseStrictJson(bytes))?.['mediaType'];
    return typeof type === 'string' ? type : ociManifestType;
  } catch {
    return ociManifestType;
  }
}

function childrenOf(content: Manifest): readonly string[] {
  return content.kind === 'index' ? content.manifests.map(({ digest }) => digest) : [];
}

/** Tags of what belongs to an image: cosign's tags, the fallback tag of referrers, and signed metadata. */
const belongingTag = new RegExp(`^(?:sha256-[0-9a-f]{64}(?:\\.[a-z]+)?|${defaultTufTag})$`, 'u');

function imagesAmong(entries: readonly Entry[]): readonly LayoutImage[] {
  const inside = new Set(entries.flatMap(({ children }) => children));
  const found = new Map<string, LayoutImage>();
  for (const { digest, tag, name, subject } of entries) {
    if (
      subject !== undefined ||
      (tag !== undefined && belongingTag.test(tag)) ||
      (tag === undefined && inside.has(digest))
    )
      continue;
    found.set(`${digest} ${tag ?? ''} ${name ?? ''}`, {
      digest,
      ...(tag === undefined ? {} : { tag }),
      ...(name === undefined ? {} : { name }),
    });
  }
  return [...found.values()];
}
