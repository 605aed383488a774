import type { RegistryRepository } from '../base/distribution/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../base/errors/index.ts';
import { parseStrictJson, recordOf } from './strict-json.ts';
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
 * @throws PortcullisError `TRUST_NO_PLATFORM`, `TRUST_BAD_INDEX`, and those of base/distribution
 */
export async function resolveImage(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  platform: Platform,
  signal?: AbortSignal,
): Promise<ResolvedImage> {
  const { bytes, digest } = await firstAnswer(repositories, tagOrDigest, signal);
  const entries = indexEntries(bytes);
  if (entries === undefined) return { digest, manifestDigest: digest };
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
 * @throws PortcullisError `TRUST_BAD_INDEX`, and those of base/distribution
 */
export async function resolveAll(repository: RegistryRepository, tagOrDigest: string, signal?: AbortSignal): Promise<readonly string[]> {
  const { bytes, digest } = await repository.manifest(tagOrDigest, signal);
  return [...new Set([digest, ...(indexEntries(bytes) ?? []).map((entry) => entry.digest)])];
}

async function firstAnswer(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  signal?: AbortSignal,
): Promise<{ bytes: Uint8Array; digest: string }> {
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

interface IndexEntry {
  readonly digest: string;
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

function indexEntries(bytes: Uint8Array): readonly IndexEntry[] | undefined {
  let document: Readonly<Record<string, unknown>> | undefined;
  try {
    document = recordOf(parseStrictJson(bytes));
  } catch (error) {
    throw badIndex(reasonOf(error));
  }
  const manifests = document?.['manifests'];
  if (manifests === undefined) return undefined;
  if (!Array.isArray(manifests)) throw badIndex('its list of manifests is not a list');
  return manifests.map((value: unknown) => {
    const entry = recordOf(value);
    const platform = recordOf(entry?.['platform']);
    const digest = entry?.['digest'];
    if (typeof digest !== 'string' || !/^sha256:[0-9a-f]{64}$/.test(digest)) throw badIndex('one of its manifests has no sha256 digest');
    return {
      digest,
      os: textOf(platform?.['os']),
      architecture: textOf(platform?.['architecture']),
      variant: textOf(platform?.['variant']),
    };
  });
}

function badIndex(why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_BAD_INDEX',
    kind: 'invalid',
    attempted: 'read image index',
    on: '',
    why,
    fix: 'push the image again',
  });
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function matches(entry: IndexEntry, { os, architecture, variant }: Platform): boolean {
  return entry.os === os && entry.architecture === architecture && (variant === undefined || entry.variant === variant);
}
