import { randomUUID } from 'node:crypto';
import { mkdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { PortcullisError } from '../../base/errors/index.ts';
import type { Reference, RegistryRepository } from '../../base/distribution/index.ts';
import { syncFolder, syncTree } from '../../base/storage/index.ts';
import type { PassphraseSource } from '../keys/passphrase.ts';
import { openSigner } from '../signing/open-signer.ts';
import type { RegistryAccess } from '../registries/registry-access.ts';
import type { Publication } from '../tuf-author/destination.ts';
import { authorFailure } from '../tuf-author/failure.ts';
import { registryDestination } from '../tuf-author/to-registry.ts';
import { defaultTufTag } from '../tuf-client/oci-source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { tufFailure } from '../tuf/failure.ts';
import { askServices } from '../tuf-requirement/ask-services.ts';
import { openRepositoriesIn } from '../tuf-requirement/repositories.ts';
import { openSources } from '../tuf-requirement/sources.ts';
import type { Dossier, Platform, Verdict } from '../findings/types.ts';
import type { PolicyKey, TrustPolicy } from '../requirements/types.ts';
import { verifyImage } from '../verify-image.ts';
import { failure, publishedAt, useArchive, writeArchive } from './archive.ts';
import type { ArchiveStatement, OpenedArchive } from './archive.ts';
import { loadCarriedPolicy, packPolicy, unpackPolicy } from './carried-policy.ts';
import { copyImage, wantedOf } from './copy-image.ts';
import { keptMetadata } from './kept-metadata.ts';
import { inTemporary, removedBySignal } from './temporary.ts';
import type { CopiedImage, CopyProgress } from './copy-image.ts';
import { inventoryOf } from './inventory.ts';
import type { ImageInventory } from './inventory.ts';

/** Carrying images by name, with all their evidence. */

/**
 * Copies from registry to registry.
 * @throws the errors of copyImage, of references and of the metadata
 */
export async function copyReference(input: {
  readonly from: string;
  readonly to: string;
  /** Address of the image's signed metadata. Default: the metadata beside the image in the registry. */
  readonly metadata?: string;
  readonly registry: RegistryAccess;
  readonly progress?: CopyProgress;
}): Promise<CopiedImage> {
  const [source, target] = [wantedOf(input.from), wantedOf(input.to)];
  const from = (await input.registry.repositories(source.reference))[0];
  const to = (await input.registry.repositories(target.reference)).at(-1);
  const tag = target.reference.digest === undefined ? target.tag : undefined;
  const [origin, destination] = [present(from, input.from), present(to, input.to)];
  // The metadata is read before anything is copied: an image without its metadata would be refused at its
  // destination.
  const metadata =
    input.metadata === undefined
      ? undefined
      : await metadataAt(input.metadata, source.reference, input.registry);
  const kept =
    input.metadata === undefined
      ? undefined
      : await keptMetadata(sourceOf(input.metadata, source.reference, input.registry), destination);
  if (kept === 'other')
    throw authorFailure(
      'TRUST_AUTHOR_OCCUPIED',
      target.name,
      'it has the signed metadata of another collection',
    );
  const copied = await copyImage({
    from: origin,
    to: destination,
    reference: target.name,
    wanted: source.wanted,
    tag,
    ...(input.progress === undefined ? {} : { progress: input.progress }),
  });
  if (metadata === undefined) return copied;
  if (kept !== undefined) return { ...copied, metadata: false, metadataKept: kept };
  await registryDestination(destination, defaultTufTag).publish([metadata]);
  return { ...copied, metadata: true };
}

/**
 * Lists what a repository holds about an image. With a mirror, the mirror is asked.
 * @throws the errors of inventoryOf and of references
 */
export async function evidenceOfReference(text: string, registry: RegistryAccess): Promise<ImageInventory> {
  const { reference, wanted } = wantedOf(text);
  return inventoryOf(present((await registry.repositories(reference))[0], text), wanted);
}

async function metadataAt(address: string, about: Reference, registry: RegistryAccess): Promise<Publication> {
  const found = await publishedAt(sourceOf(address, about, registry));
  if (found !== undefined) return found;
  throw tufFailure('TRUST_TUF_MISSING', address, 'nothing is published there in the TUF dialect');
}

/** Returns the source of metadata, with the user's credentials. */
function sourceOf(url: string, about: Reference, { options }: RegistryAccess): TufSource {
  return openSources(options)(
    { url, image: `${about.registry}/${about.repository}`, registry: about.registry },
    {},
  );
}

/**
 * Writes an image as an archive.
 * @throws the errors of writeArchive, of references and of signers
 */
export async function archiveReference(input: {
  readonly reference: string;
  readonly file: string;
  readonly registry: RegistryAccess;
  /** Address of the image's signed metadata. Default: the metadata in the registry. */
  readonly metadata?: string;
  /** Folder or file of a policy to carry with the image. The archive must then be signed. */
  readonly policy?: string;
  /** Seconds. */
  readonly freshFor: number;
  /** File of the key that signs the archive. */
  readonly key?: string;
  readonly passphrase: PassphraseSource;
  readonly progress?: CopyProgress;
  readonly now: Date;
}): Promise<CopiedImage & { readonly statement: ArchiveStatement }> {
  const { file, freshFor, now, key, passphrase } = input;
  const { reference, wanted, tag, name } = wantedOf(input.reference);
  if (input.policy !== undefined && key === undefined)
    throw unsigned(file, 'it carries a policy, which anyone who transports the file could replace');
  const policy = input.policy === undefined ? undefined : await packPolicy(input.policy, now);
  const from = present((await input.registry.repositories(reference))[0], input.reference);
  const signer = key === undefined ? undefined : await openSigner({ key, passphrase, now });
  try {
    return await writeArchive({
      file,
      from,
      reference: name,
      wanted,
      tag,
      ...(input.metadata === undefined
        ? {}
        : { metadata: sourceOf(input.metadata, reference, input.registry) }),
      ...(policy === undefined ? {} : { policy }),
      freshFor,
      ...(signer === undefined ? {} : { signer }),
      ...(input.progress === undefined ? {} : { progress: input.progress }),
      now,
    });
  } finally {
    await signer?.close();
  }
}

/**
 * Pushes the content of an archive to a registry.
 * @throws the errors of useArchive and copyImage
 */
export function loadArchive(input: {
  readonly file: string;
  readonly to: string;
  readonly key?: PolicyKey;
  readonly registry: RegistryAccess;
  readonly progress?: CopyProgress;
  readonly now: Date;
}): Promise<CopiedImage> {
  return useArchive(input, async ({ statement, repository }) => {
    const target = wantedOf(input.to);
    const to = present((await input.registry.repositories(target.reference)).at(-1), input.to);
    const tag = target.reference.digest === undefined ? target.tag : undefined;
    return copyImage({
      from: repository,
      to,
      reference: target.name,
      wanted: statement.digest,
      tag,
      ...(input.progress === undefined ? {} : { progress: input.progress }),
    });
  });
}

/**
 * Decides about an archive's image by its own name, from the file alone: asks no registry and no service.
 * @param trustState folder that keeps the state of trusted metadata, so that an older archive is detected as
 * a rollback
 * @throws the errors of useArchive
 */
export function verifyArchive(input: {
  readonly file: string;
  readonly key?: PolicyKey;
  /** Absent: the policy that the archive carries, which needs `key`. */
  readonly policy?: TrustPolicy;
  readonly namespace: string;
  readonly platform?: Platform;
  readonly trustState: string;
  readonly now: Date;
}): Promise<{ readonly statement: ArchiveStatement; readonly verdict: Verdict; readonly dossier?: Dossier }> {
  const { namespace, platform, trustState, now } = input;
  return useArchive(input, async (archive) => {
    const { statement, repository, metadata } = archive;
    const policy = input.policy ?? (await carriedPolicy(input, archive));
    const repositories = openRepositoriesIn({ folder: trustState, source: metadata, now: () => now });
    const registry: RegistryAccess = {
      options: {},
      repositories: () => Promise.resolve([repository]),
      close: () => Promise.resolve(),
    };
    const services = {
      ask: (asked: Parameters<typeof askServices>[1]) =>
        askServices((requirement, reference) => repositories.ask(requirement, reference), asked),
      close: () => Promise.resolve(),
    };
    const { reference, digest } = statement;
    const where = platform === undefined ? {} : { platform };
    return {
      statement,
      ...(await verifyImage({
        reference,
        digest,
        namespace,
        policy,
        registry,
        services,
        offline: true,
        ...where,
        now,
      })),
    };
  });
}

/**
 * Writes the policy that an archive carries to a folder, which appears only when it is complete, and is then
 * on the disk.
 * @param key the key that must have signed the archive
 * @returns the names of the files
 * @throws the errors of useArchive; TRUST_ARCHIVE_EXISTS when the folder exists
 */
export function extractPolicy(input: {
  readonly file: string;
  readonly key: PolicyKey;
  readonly to: string;
  readonly now: Date;
}): Promise<readonly string[]> {
  const { file, to } = input;
  return useArchive(input, async ({ policy }) => {
    if (policy === undefined) throw withoutPolicy(file);
    if ((await stat(to).catch(() => undefined)) !== undefined)
      throw failure('TRUST_ARCHIVE_EXISTS', to, 'it exists', 'name a new folder');
    // A name that nothing else has: `policy.d.part` may be a folder of the user.
    const partial = `${to}.${randomUUID()}.part`;
    try {
      return await removedBySignal(partial, async () => {
        await mkdir(partial, { recursive: true, mode: 0o755 });
        const names = await unpackPolicy(policy, partial);
        await syncTree(partial);
        await rename(partial, to);
        await syncFolder(dirname(resolve(to)));
        return names;
      });
    } catch (error) {
      await rm(partial, { recursive: true, force: true });
      throw error;
    }
  });
}

/** Loads the policy of an archive, for the time that the archive is fresh. */
async function carriedPolicy(
  { file, key }: { readonly file: string; readonly key?: PolicyKey },
  { policy, statement }: OpenedArchive,
): Promise<TrustPolicy> {
  if (policy === undefined) throw withoutPolicy(file);
  if (key === undefined) throw unsigned(file, 'its policy counts only if a known key signed the archive');
  return inTemporary('portcullis-policy-', async (folder) => {
    const loaded = await loadCarriedPolicy(policy, folder, new Date(statement.freshUntil));
    return loaded.policy;
  });
}

const withoutPolicy = (file: string): PortcullisError =>
  failure(
    'TRUST_ARCHIVE_POLICY',
    file,
    'it carries no policy',
    'name one with --policy, or make the archive with --policy',
  );

const unsigned = (file: string, why: string): PortcullisError =>
  failure('TRUST_ARCHIVE_UNSIGNED', file, why, 'sign with --key, and name the public key with --archive-key');

/**
 * Returns the repository of an image, if a registry serves it.
 * @throws TRUST_NO_REGISTRY
 */
export function present(repository: RegistryRepository | undefined, on: string): RegistryRepository {
  if (repository !== undefined) return repository;
  throw new PortcullisError({
    code: 'TRUST_NO_REGISTRY',
    kind: 'invalid',
    attempted: 'carry image',
    on,
    why: 'no registry serves it',
    fix: 'check --registry-mirror',
  });
}
