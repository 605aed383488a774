import { attempt } from '../../base/errors/index.ts';
import { formatReference, parseReference } from '../../base/distribution/index.ts';
import type { Credentials, Reference } from '../../base/distribution/index.ts';
import type { PullCredentials } from './types.ts';

/**
 * A reference as the image store uses it: by tag or by digest, never both (a digest decides, and a tag beside
 * it is ignored).
 */
export interface ImageName {
  readonly reference: Reference;
  /** Normalised: `docker.io/library/busybox:1` or `docker.io/library/busybox@sha256:…`. */
  readonly text: string;
  /** The tag or digest for the request to the registry. */
  readonly wanted: string;
}

/** Throws DISTRIBUTION_BAD_REFERENCE. */
export function parseImageName(text: string): ImageName {
  const { registry, repository, tag, digest } = parseReference(text);
  const reference: Reference = {
    registry,
    repository,
    ...(digest === undefined ? { tag: tag ?? 'latest' } : { digest }),
  };
  return { reference, text: formatReference(reference), wanted: digest ?? tag ?? 'latest' };
}

/** Like {@link parseImageName}; undefined for a text that is not a name. */
export function tryImageName(text: string): ImageName | undefined {
  return attempt(() => parseImageName(text));
}

/** Returns the names under which a pull of `name` is recorded; `asked`: the caller wrote it. */
export function namesOf(
  name: ImageName,
  digest: string,
): { readonly name: string; readonly asked: boolean }[] {
  const byDigest = digestName(name, digest);
  return name.text === byDigest
    ? [{ name: byDigest, asked: true }]
    : [
        { name: name.text, asked: true },
        { name: byDigest, asked: false },
      ];
}

function digestName(name: ImageName, digest: string): string {
  const { registry, repository } = name.reference;
  return formatReference({ registry, repository, digest });
}

/**
 * Returns the credentials only for the registry for which they were given. Without a server address they
 * belong to the registry of the reference.
 */
export function credentialsFor(
  name: ImageName,
  credentials: PullCredentials | undefined,
): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { serverAddress, ...rest } = credentials;
  if (
    serverAddress !== undefined &&
    serverAddress !== '' &&
    hostOf(serverAddress) !== name.reference.registry
  )
    return undefined;
  return rest;
}

/** `https://index.docker.io/v1/` and `registry.example.com:5000` name a host. */
function hostOf(address: string): string {
  const host = address
    .replace(/^[a-z]+:\/\//i, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
  return host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host;
}
