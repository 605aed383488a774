import { choosePlatform, mediaTypes, otherChoices } from '../../base/distribution/index.ts';
import type { Descriptor, FetchedManifest, RegistryRepository } from '../../base/distribution/index.ts';
import { PortcullisError, isPortcullisError } from '../../base/errors/index.ts';
import type { Platform } from '../findings/types.ts';

const architectures: Readonly<Record<string, string>> = {
  x64: 'amd64',
  arm64: 'arm64',
  arm: 'arm',
  ia32: '386',
  ppc64: 'ppc64le',
};

/** Returns the platform of this machine, in the terms of image indexes (image-spec, image-index.md). */
export function hostPlatform(): Platform {
  return { os: 'linux', architecture: architectures[process.arch] ?? process.arch };
}

/** An image for one platform. Both digests are equal when there is no index. */
export interface PlatformImage {
  readonly digest: string;
  readonly manifestDigest: string;
  readonly platform: Platform;
  /** With `all`: the index also has entries that name no platform. */
  readonly partial?: true;
}

/** In verdicts on an entry of an index that states no platform. */
const noneStated: Platform = { os: 'unknown', architecture: 'unknown' };

/** A gate decides about each platform of an index, so their number is bounded. */
const maximumPlatforms = 64;

/**
 * Resolves a tag or digest once, at the first repository that has it, for several platforms. `all`: every
 * entry of the index. An image without an index is the same for every platform, and is returned once. A
 * platform is returned several times if runtimes choose different manifests of the index for it: the first is
 * the one that the nodes choose.
 * @throws PortcullisError `TRUST_NO_PLATFORM`, and the errors of base/distribution
 */
export async function resolvePlatforms(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  platforms: readonly Platform[] | 'all',
  signal?: AbortSignal,
): Promise<readonly PlatformImage[]> {
  const answer = await firstAnswer(repositories, tagOrDigest, signal);
  const { digest, content } = answer;
  if (content.kind !== 'index') {
    const [platform = hostPlatform()] = platforms === 'all' ? [] : platforms;
    return [{ digest, manifestDigest: digest, platform }];
  }
  if (platforms !== 'all') {
    const images: PlatformImage[] = [];
    for (const platform of platforms) {
      for (const manifestDigest of await pick(answer, platform, { repositories, signal }))
        images.push({ digest, manifestDigest, platform });
    }
    return images;
  }
  // Entries for the platform unknown/unknown are attestations of BuildKit, which no node runs. An entry
  // without a platform runs on the platform that its configuration states.
  const partial = content.manifests.some(({ platform }) => platform === undefined);
  const images = content.manifests.flatMap((entry): PlatformImage[] => {
    const { digest: manifestDigest, platform } = entry;
    if (platform === undefined ? !isImage(entry) : platform.os === 'unknown') return [];
    return [
      {
        ...{ digest, manifestDigest, platform: platformOnly(platform ?? noneStated) },
        ...(partial ? { partial } : {}),
      },
    ];
  });
  if (images.length === 0) throw noPlatform(digest, 'the index names no platform');
  if (images.length > maximumPlatforms)
    throw noPlatform(
      digest,
      `the index has ${images.length} platforms, and at most ${maximumPlatforms} are supported`,
    );
  return images;
}

/** An index may list indexes (image-spec, image-index.md). Each level costs a request. */
const maximumNestedIndexes = 4;

/**
 * Selects the manifest as the nodes do (`choosePlatform`), and then those that other runtimes choose instead
 * of it.
 */
async function pick(
  top: FetchedManifest,
  platform: Platform,
  asked: { readonly repositories: readonly RegistryRepository[]; readonly signal: AbortSignal | undefined },
): Promise<readonly string[]> {
  const others = new Set<string>();
  const found = (chosen: string): readonly string[] => [...new Set([chosen, ...others])];
  let own = top;
  for (let level = 0; own.content.kind === 'index'; level += 1) {
    const entries = own.content.manifests.filter(isImage);
    const chosen = choosePlatform(entries, platform);
    if (chosen === undefined)
      throw noPlatform(own.digest, `the index has no manifest for ${platform.os}/${platform.architecture}`);
    if (level === maximumNestedIndexes)
      throw noPlatform(top.digest, `the index contains more than ${maximumNestedIndexes} nested indexes`);
    for (const other of otherChoices(entries, platform, chosen).filter(isManifest)) others.add(other.digest);
    if (others.size > maximumPlatforms)
      throw noPlatform(
        top.digest,
        `the index has more than ${maximumPlatforms} manifests for ${platform.os}/${platform.architecture}`,
      );
    if (isManifest(chosen)) return found(chosen.digest);
    own = await firstAnswer(asked.repositories, chosen.digest, asked.signal);
  }
  return found(own.digest);
}

const isManifest = ({ mediaType }: Descriptor): boolean =>
  mediaType === mediaTypes.ociManifest || mediaType === mediaTypes.dockerManifest;

const isImage = (entry: Descriptor): boolean =>
  isManifest(entry) || entry.mediaType === mediaTypes.ociIndex || entry.mediaType === mediaTypes.dockerIndex;

function platformOnly({ os, architecture, variant }: Platform): Platform {
  return { os, architecture, ...(variant === undefined ? {} : { variant }) };
}

function noPlatform(digest: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_NO_PLATFORM',
    kind: 'not-found',
    attempted: 'choose the manifest of a platform',
    on: digest,
    why,
    fix: 'use an image that is built for this platform',
  });
}

/**
 * Returns the digest of a tag and, when it is an index, the digests of all its manifests.
 * @throws PortcullisError of base/distribution
 */
export async function resolveAll(
  repository: RegistryRepository,
  tagOrDigest: string,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  const { digest, content } = await repository.manifest(tagOrDigest, signal);
  return [
    ...new Set([digest, ...(content.kind === 'index' ? content.manifests : []).map((entry) => entry.digest)]),
  ];
}

/**
 * Returns the manifest of the first repository that has it.
 * @throws PortcullisError of base/distribution: the failure that says most
 */
export async function firstAnswer(
  repositories: readonly RegistryRepository[],
  tagOrDigest: string,
  signal?: AbortSignal,
): Promise<FetchedManifest> {
  let failure: unknown;
  for (const repository of repositories) {
    try {
      return await repository.manifest(tagOrDigest, signal);
    } catch (error) {
      // Keep the first failure other than "not found", because it says most: mirrors often lack an image.
      if (failure === undefined || (isPortcullisError(failure) && failure.kind === 'not-found'))
        failure = error;
    }
  }
  throw failure;
}
