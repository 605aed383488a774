import { randomUUID } from 'node:crypto';
import { constants, createReadStream, createWriteStream } from 'node:fs';
import {
  access,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';
import { digestOf, isDigest } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError, errnoOf } from '../../base/errors/index.ts';
import { smallest } from '../../base/lists/index.ts';
import { makeFolderSync, storageFailure, syncFolder } from '../../base/storage/index.ts';
import { verifySignature } from '../keys/verify-signature.ts';
import { canonicalJson } from '../json/canonical-json.ts';
import type { Signer } from '../signers/signer.ts';
import { parseStrictJson, recordOf } from '../json/strict-json.ts';
import { ociSource } from '../tuf-client/oci-source.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { publicationOf, readPublished } from '../tuf-author/publish.ts';
import type { Publication } from '../tuf-author/destination.ts';
import { registryDestination } from '../tuf-author/to-registry.ts';
import { readMetadata } from '../tuf-metadata/read.ts';
import type { PolicyKey } from '../requirements/types.ts';
import { copyImage } from './copy-image.ts';
import type { CopiedImage, CopyProgress } from './copy-image.ts';
import { damaged } from './archive-errors.ts';
import { openLayout } from './layout.ts';
import { inTemporary, removedBySignal } from './temporary.ts';
import { forEachEntry } from './unpack-archive.ts';

/** The statement of an archive about itself. */
export interface ArchiveStatement {
  readonly version: 1;
  /** Normalised name of the image. */
  readonly reference: string;
  readonly digest: string;
  /** ISO 8601. */
  readonly createdAt: string;
  /**
   * ISO 8601. After this time nothing in the archive is trusted. Never later than the expiry of its signed
   * metadata.
   */
  readonly freshUntil: string;
  /** Digest of `index.json`, which covers everything about the image. */
  readonly index: string;
  /** Digest of the policy that the archive carries. */
  readonly policy?: string;
}

const statementFile = 'portcullis-archive.json';
const signatureFile = 'portcullis-archive.sig';
const policyFile = 'portcullis-policy.tar';

export interface WriteArchiveInput {
  readonly file: string;
  readonly from: RegistryRepository;
  readonly reference: string;
  readonly wanted: string;
  readonly tag: string | undefined;
  /** The source of the image's signed metadata, when it is not beside the image in the registry. */
  readonly metadata?: TufSource;
  /** A packed policy, to carry with the image. */
  readonly policy?: Buffer;
  /** Seconds. */
  readonly freshFor: number;
  /** Signs the statement, so that the freshness of the archive cannot be extended on the way. */
  readonly signer?: Signer;
  readonly progress?: CopyProgress;
  readonly now: Date;
}

/**
 * Writes one file (tar, an OCI image layout inside) with an image, its signatures and attestations, and its
 * signed metadata.
 * @throws PortcullisError `TRUST_ARCHIVE_EXISTS`, `TRUST_ARCHIVE_NO_FILE`, and the errors of
 * base/distribution, of the metadata and of signers
 */
export async function writeArchive(
  input: WriteArchiveInput,
): Promise<CopiedImage & { readonly statement: ArchiveStatement }> {
  const { file, from, reference, wanted, tag, now, signer } = input;
  await requireNewFile(file);
  return inTemporary('portcullis-archive-', async (folder) => {
    const layout = await openLayout(folder);
    const { progress } = input;
    const copied = await copyImage({
      from,
      to: layout,
      reference,
      wanted,
      tag,
      ...(progress === undefined ? {} : { progress }),
    });
    const brought = input.metadata === undefined ? false : await bringMetadata(input.metadata, layout);
    await layout.finish();
    const ends = copied.metadata || brought ? await metadataEnds(layout) : [];
    const until = Math.min(now.getTime() + input.freshFor * 1000, smallest(ends));
    const statement: ArchiveStatement = {
      version: 1,
      reference,
      digest: copied.digest,
      createdAt: now.toISOString(),
      freshUntil: new Date(until).toISOString(),
      index: digestOf(await readFile(join(folder, 'index.json'))),
      ...(input.policy === undefined ? {} : { policy: digestOf(input.policy) }),
    };
    if (input.policy !== undefined) await writeFile(join(folder, policyFile), input.policy);
    const bytes = Buffer.from(canonicalJson(statement));
    await writeFile(join(folder, statementFile), bytes);
    if (signer !== undefined)
      await writeFile(join(folder, signatureFile), (await signer.sign(bytes)).toString('base64'));
    await writeTar(folder, file, [statementFile, signatureFile, policyFile, 'oci-layout', 'index.json']);
    return { ...copied, metadata: copied.metadata || brought, statement };
  });
}

export interface OpenedArchive {
  readonly statement: ArchiveStatement;
  /** The image and its evidence, in the form of a registry repository. */
  readonly repository: RegistryRepository;
  /** The signed metadata of the image. */
  readonly metadata: TufSource;
  /** The packed policy that the archive carries. Only a signed archive vouches for it. */
  readonly policy?: Buffer;
}

/**
 * Opens an archive for one use. Reads nothing but the file.
 * @param key the key that must have signed the archive; without it, the archive's own statement about its
 * freshness is accepted, within the limits of its metadata
 * @throws PortcullisError `TRUST_ARCHIVE_DAMAGED`, `TRUST_ARCHIVE_STALE`, `TRUST_ARCHIVE_UNSIGNED`
 */
export function useArchive<T>(
  input: { readonly file: string; readonly key?: PolicyKey; readonly now: Date },
  body: (archive: OpenedArchive) => Promise<T>,
): Promise<T> {
  const { file, key, now } = input;
  return inTemporary('portcullis-archive-', async (folder) => {
    await readTar(file, folder);
    const bytes = await readFile(join(folder, statementFile)).catch(() => undefined);
    if (bytes === undefined) throw damaged(file, `it has no ${statementFile}`);
    if (key !== undefined) {
      const signature = await readFile(join(folder, signatureFile), 'utf8').catch(() => '');
      if (signature === '' || !verifySignature(key, bytes, Buffer.from(signature, 'base64')))
        throw failure(
          'TRUST_ARCHIVE_UNSIGNED',
          file,
          `it is not signed by ${key.name}`,
          'ask its author for a signed archive',
        );
    }
    const statement = readStatement(file, bytes);
    if (digestOf(await readFile(join(folder, 'index.json')).catch(() => Buffer.alloc(0))) !== statement.index)
      throw damaged(file, 'its index differs from the index that its statement names');
    if (!(now.getTime() < Date.parse(statement.freshUntil)))
      throw failure(
        'TRUST_ARCHIVE_STALE',
        file,
        `it was valid until ${statement.freshUntil}`,
        'use a newer archive, and check the clock',
      );
    const policy = await readPolicyFile(file, folder, statement);
    const repository = await openLayout(folder);
    const metadata = ociSource([repository], defaultTufTag);
    return body({ statement, repository, metadata, ...(policy === undefined ? {} : { policy }) });
  });
}

async function readPolicyFile(
  file: string,
  folder: string,
  statement: ArchiveStatement,
): Promise<Buffer | undefined> {
  const packed = await readFile(join(folder, policyFile)).catch(() => undefined);
  if ((packed === undefined ? undefined : digestOf(packed)) !== statement.policy)
    throw damaged(file, 'its policy differs from the policy that its statement names');
  return packed;
}

function readStatement(file: string, bytes: Buffer): ArchiveStatement {
  try {
    const { version, reference, digest, createdAt, freshUntil, index, policy } =
      recordOf(parseStrictJson(bytes)) ?? {};
    const times = [createdAt, freshUntil].every(
      (time) => typeof time === 'string' && !Number.isNaN(Date.parse(time)),
    );
    if (
      version !== 1 ||
      typeof reference !== 'string' ||
      typeof digest !== 'string' ||
      !isDigest(digest) ||
      typeof index !== 'string' ||
      (policy !== undefined && typeof policy !== 'string') ||
      !times
    )
      throw new Error('its statement does not have the form of version 1');
    return {
      version: 1,
      reference,
      digest,
      createdAt: createdAt as string,
      freshUntil: freshUntil as string,
      index,
      ...(policy === undefined ? {} : { policy }),
    };
  } catch (error) {
    throw damaged(file, error instanceof Error ? error.message : 'its statement cannot be read');
  }
}

/**
 * Copies everything that a metadata repository serves beside an image, under the tag. The consumer verifies
 * it.
 */
async function bringMetadata(source: TufSource, to: RegistryRepository): Promise<boolean> {
  const publication = await publishedAt(source);
  if (publication !== undefined) await registryDestination(to, defaultTufTag).publish([publication]);
  return publication !== undefined;
}

/**
 * Returns everything that a metadata repository serves, from its first root on, or undefined when there is
 * nothing.
 * @throws the errors of the source and the metadata
 */
export async function publishedAt(source: TufSource): Promise<Publication | undefined> {
  const first = await source.fetch('1.root.json', 512 * 1024);
  if (first === undefined) return undefined;
  const read = await readPublished('tuf', source, new Map([['root', first]]));
  return read === undefined
    ? undefined
    : publicationOf('tuf', read.standing, new Map([[1, first], ...read.roots]), undefined);
}

/** Returns the expiry of each metadata file, in milliseconds. */
async function metadataEnds(layout: RegistryRepository): Promise<number[]> {
  const source = ociSource([layout], defaultTufTag);
  const first = await source.fetch('1.root.json', 512 * 1024);
  if (first === undefined) return [];
  const read = await readPublished('tuf', source, new Map([['root', first]]));
  return [...(read?.standing ?? [])].map(([role, bytes]) => {
    const type = role === 'root' || role === 'timestamp' || role === 'snapshot' ? role : 'targets';
    return readMetadata('tuf', type, bytes).signed.expires;
  });
}

/**
 * Writes a layout as one file, which appears only when it is complete, and is then on the disk.
 * @param heads files before the blobs, where they exist
 */
export async function writeTar(folder: string, file: string, heads: readonly string[]): Promise<void> {
  makeFolderSync(dirname(file), 0o755);
  // A name that nothing else has: another command may write the same file, and `file.part` may be a user's.
  const partial = `${file}.${randomUUID()}.part`;
  await removedBySignal(partial, () => writeTarAs(partial, { folder, file, heads }));
}

/**
 * Gives a complete archive its name, and never replaces a file that another command wrote meanwhile.
 * @throws PortcullisError TRUST_ARCHIVE_EXISTS
 */
async function nameArchive(partial: string, file: string): Promise<void> {
  try {
    await link(partial, file);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'EEXIST') throw archiveExists(file);
    // The file systems of USB sticks have no hard links.
    if (code !== 'EPERM' && code !== 'ENOTSUP' && code !== 'EOPNOTSUPP') throw error;
    await requireNewFile(file);
    return rename(partial, file);
  }
  await unlink(partial);
}

async function writeTarAs(
  partial: string,
  {
    folder,
    file,
    heads,
  }: { readonly folder: string; readonly file: string; readonly heads: readonly string[] },
): Promise<void> {
  const tar = pack();
  const written = pipeline(tar, createWriteStream(partial, { flags: 'wx', mode: 0o644 }));
  // It can fail while a file is read, when nothing waits for it.
  written.catch(() => undefined);
  const blobs = (await readdir(join(folder, 'blobs', 'sha256'))).sort().map((name) => `blobs/sha256/${name}`);
  try {
    for (const name of [...heads, ...blobs]) {
      const facts = await stat(join(folder, name)).catch(() => undefined);
      if (facts === undefined) continue;
      // The same content gives the same file.
      const entry = tar.entry({ name, size: facts.size, mode: 0o644, mtime: new Date(0) });
      await pipeline(createReadStream(join(folder, name)), entry);
    }
    tar.finalize();
    await written;
    const handle = await open(partial);
    await handle.sync();
    await handle.close();
    await nameArchive(partial, file);
    await syncFolder(dirname(file));
  } catch (error) {
    tar.destroy();
    // The reason of a destination that fails, instead of the broken pipe that it causes.
    const reason = await written.then(
      () => error,
      (failed: unknown) => failed,
    );
    await rm(partial, { force: true });
    throw (reason as NodeJS.ErrnoException).syscall === undefined
      ? error
      : storageFailure(reason, 'write archive', file);
  }
}

const allowed =
  /^(?:oci-layout|index\.json|portcullis-policy\.tar|portcullis-archive\.(?:json|sig)|blobs\/sha256\/[0-9a-f]{64})$/u;
const mostEntries = 100_000;
/** Limit for files that are read as a whole: statement, signature, index. */
const mostHeadBytes = 16 * 1024 * 1024;

/** Extracts only regular files with names of a layout, so that nothing can be written outside the folder. */
async function readTar(file: string, folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs', 'sha256'), { recursive: true });
  const seen = new Set<string>();
  await forEachEntry(file, folder, async (entry) => {
    const { name, type, size } = entry.header;
    const head = !name.startsWith('blobs/');
    if (
      type !== 'file' ||
      !allowed.test(name) ||
      seen.has(name) ||
      seen.size > mostEntries ||
      (head && size > mostHeadBytes)
    )
      throw damaged(
        file,
        `it contains ${JSON.stringify(name.slice(0, 100))}, which is not part of an archive, or is too large`,
      );
    seen.add(name);
    await pipeline(entry, createWriteStream(join(folder, name)));
  });
}

/**
 * Checks that an archive can be written to a file, before anything is downloaded for it.
 * @throws PortcullisError `TRUST_ARCHIVE_EXISTS`; `TRUST_ARCHIVE_NO_FILE` for `-`, which other tools take for
 * standard output; `STORAGE_READ_ONLY`, `STORAGE_NO_ACCESS` for a folder in which no file can be created
 */
export async function requireNewFile(file: string): Promise<void> {
  if (file === '-')
    throw failure(
      'TRUST_ARCHIVE_NO_FILE',
      file,
      'archives are written to files, and not to standard output',
      'name a new file (./- for a file with this name)',
    );
  // A link without a target is a file, too: the archive would replace it.
  if ((await lstat(file).catch(() => undefined)) !== undefined) throw archiveExists(file);
  let folder = dirname(resolve(file));
  // Folders that do not exist are created with the file.
  while (!(await stat(folder).catch(() => undefined))) folder = dirname(folder);
  // With the dot, a file is refused even if it may be executed.
  await access(`${folder}/.`, constants.W_OK | constants.X_OK).catch((error: unknown) => {
    throw storageFailure(error, 'write archive', file);
  });
}

function archiveExists(file: string): PortcullisError {
  return failure('TRUST_ARCHIVE_EXISTS', file, 'the file exists', 'name another file');
}

const invalidCodes = [
  'TRUST_ARCHIVE_EXISTS',
  'TRUST_ARCHIVE_NO_FILE',
  'TRUST_ARCHIVE_OTHER_DIGEST',
  'TRUST_ARCHIVE_POLICY',
];

export function failure(code: string, on: string, why: string, fix: string): PortcullisError {
  const kind = invalidCodes.includes(code) ? 'invalid' : 'denied';
  return new PortcullisError({ code, kind, attempted: 'use archive', on, why, fix });
}
