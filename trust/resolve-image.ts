import type { Descriptor, FetchedManifest, RegistryRepository } from '../base/distribution/index.ts';
import { PortcullisError, isPortcullisError } from '../base/errors/index.ts';
import type { Platform } from './types.ts';

/** What a reference stands for at this moment. Equal digests when there is no index. */
export interface ResolvedImage {
  readonly digest: string;
  readonly manifestDigest: string;
}

const architectures: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64', arm: 'arm', ia32: '386', ppc64: 'ppc64le' };

/** This machine's platform, in the words of image indexes (image-spec, image-index.md). */
export function hostPlatform(): Platform {
  return { os: 'linux', architecture: architectures[process.arch] ?? process.arch };
}

/**
 * Resolves a tag or digest once, at the first repository that has it, and picks the platform's manifest of an index.
 * @throws PortcullisError `TRUST_NO_PLATFORM`, and those of base/distribution
 */
export async function resolveImage(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  platform: Platform,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const { digest, content } = await firstAnswer(repositories, tagOrDigest, signal);
  if (content.kind !== 'index') return { digest, manifestDigest: digest };
  const entries = content.manifests;
  const chosen =
    entries.find((entry) => matches(entry, platform)) ??
    entries.find((entry) => matches(entry, { os: platform.os, architecture: platform.architecture }));
  if (chosen === undefined) {
    throw new PortcullisError({
      code: 'TRUST_NO_PLATFORM',
      kind: 'not-found',
      attempted: 'choose the manifest of a platform',
      on: digest,
      why: `the index has none for ${platform.os}/${platform.architecture}`,
      fix: 'use an image that is built for this platform',
    });
  }
  return { digest, manifestDigest: chosen.digest };
}

/**
 * The digest a tag stands for, and those of all manifests when it is an index.
 * @throws PortcullisError of base/distribution
 */
export async function resolveAll(repository: RegistryRepository, tagOrDigest: string, signal?: AbortSignal): Promise<readonly string[]> {
  const { digest, content } = await repository.manifest(tagOrDigest, signal);
  return [...new Set([digest, ...(content.kind === 'index' ? content.manifests : []).map((entry) => entry.digest)])];
}

async function firstAnswer(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  signal?: AbortSignal,
): Promise<FetchedManifest> {
  let failure: unknown;
  for (const repository of repositories) {
    try {
      return await repository.manifest(tagOrDigest, signal);
    } catch (error) {
      // The first failure that is not "not found" says most; a mirror that lacks an image is ordinary.
      if (failure === undefined || (isPortcullisError(failure) && failure.kind === 'not-found')) failure = error;
    }
  }
  throw failure;
}

function matches({ platform }: Descriptor, { os, architecture, variant }: Platform): boolean {
  return platform?.os === os && platform.architecture === architecture && (variant === undefined || platform.variant === variant);
}
