import { createHash } from 'node:crypto';
import { parseReference } from '../../base/distribution/index.ts';
import type { RegistryRepository } from '../../base/distribution/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { download } from '../tuf-client/http-source.ts';
import { targetName } from '../tuf-client/metadata-names.ts';
import { openSource } from '../tuf-client/open-source.ts';
import type { FindRepositories } from '../tuf-client/open-source.ts';
import type { TufSource } from '../tuf-client/source.ts';
import { tufFailure } from '../tuf/failure.ts';
import { verifyFile } from '../tuf/trusted-set.ts';
import { mostArchiveBytes } from './archive.ts';
import { releasePath } from './release.ts';
import type { PolicyRelease } from './release.ts';

/** Where the releases of a policy come from. */
export interface ReleaseSource {
  readonly metadata: TufSource;
  /**
   * Fetches an archive and compares it with the signed length and hash.
   * @throws the codes of tuf/failure.ts, such as TRUST_TUF_WRONG_HASH
   */
  archive(release: PolicyRelease): Promise<Buffer>;
}

export interface OpenReleasesInput {
  /** The metadata: `oci://REGISTRY/REPOSITORY[:TAG]`, `https://…` or `http://…`. */
  readonly service: string;
  /**
   * The archives: `oci://REGISTRY/REPOSITORY`, or the address below which targets are. Default: beside the
   * metadata.
   */
  readonly releases?: string | undefined;
  /** Returns the repositories to ask, in order. */
  readonly repositories: FindRepositories;
  /** Aborts requests over HTTP. */
  readonly signal?: AbortSignal;
}

/** Returns where archives are by default: in the same repository, or in `targets` beside the metadata. */
const besideMetadata = (service: string): string =>
  service.startsWith('oci://') ? service : `${service.replace(/\/+$/u, '')}/targets`;

/**
 * Opens a collection of releases. Nothing is requested yet.
 * @throws TRUST_TUF_UNREACHABLE for an address of another kind
 */
export function openReleases(input: OpenReleasesInput): ReleaseSource {
  const { service, repositories, signal } = input;
  const place = input.releases ?? besideMetadata(service);
  const metadata = openSource(service, { repositories, ...(signal === undefined ? {} : { signal }) });
  const fetchArchive = place.startsWith('oci://')
    ? fromRegistry(place, repositories)
    : fromWeb(place, signal === undefined ? {} : { signal });
  return {
    metadata,
    async archive(release) {
      const on = `release ${releasePath(release)}`;
      if (release.length > mostArchiveBytes)
        throw tufFailure(
          'TRUST_TUF_TOO_LARGE',
          on,
          `${release.length} bytes were signed, and the limit is ${mostArchiveBytes}`,
        );
      const bytes = await fetchArchive(release);
      if (bytes === undefined)
        throw tufFailure('TRUST_TUF_MISSING', on, `${place} does not have the archive`);
      verifyFile(on, bytes, { length: release.length, hashes: { sha256: release.sha256 } });
      return bytes;
    },
  };
}

type FetchArchive = (release: PolicyRelease) => Promise<Buffer | undefined>;

function fromWeb(place: string, options: { readonly signal?: AbortSignal }): FetchArchive {
  const base = place.replace(/\/+$/u, '');
  return (release) =>
    download(
      `${base}/${targetName(releasePath(release), release.sha256, true)}`,
      Math.max(1, release.length),
      options,
    );
}

function fromRegistry(place: string, find: FindRepositories): FetchArchive {
  const reference = parseReference(place.slice('oci://'.length));
  return async ({ sha256, length }) => {
    let failure: unknown;
    for (const repository of await find(reference)) {
      try {
        return await blobOf(repository, sha256, length);
      } catch (thrown) {
        failure ??= thrown;
      }
    }
    if (failure === undefined) return undefined;
    if (isPortcullisError(failure) && failure.kind === 'not-found') return undefined;
    throw tufFailure('TRUST_TUF_UNREACHABLE', place, reasonOf(failure), failure);
  };
}

async function blobOf(repository: RegistryRepository, sha256: string, size: number): Promise<Buffer> {
  return Buffer.from(await repository.blobBytes({ digest: `sha256:${sha256}`, size }, mostArchiveBytes));
}

/** Returns the SHA-256 of bytes, in hexadecimal. */
export const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
