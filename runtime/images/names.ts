import { formatReference, parseReference } from '../../base/distribution/index.ts';
import type { Credentials, Reference } from '../../base/distribution/index.ts';
import type { PullCredentials } from './types.ts';

/** A reference as this room uses it: by tag or by digest, never both (a digest decides, and the tag beside it says nothing). */
export interface ImageName {
  readonly reference: Reference;
  /** Normalised: `docker.io/library/busybox:1` or `docker.io/library/busybox@sha256:…`. */
  readonly text: string;
  /** What to ask the registry for. */
  readonly wanted: string;
}

/** Throws DISTRIBUTION_BAD_REFERENCE. */
export function parseImageName(text: string): ImageName {
  const { registry, repository, tag, digest } = parseReference(text);
  const reference: Reference = { registry, repository, ...(digest === undefined ? { tag: tag ?? 'latest' } : { digest }) };
  return { reference, text: formatReference(reference), wanted: digest ?? tag ?? 'latest' };
}

/** As {@link parseImageName}; undefined for what is no name. */
export function tryImageName(text: string): ImageName | undefined {
  try {
    return parseImageName(text);
  } catch {
    return undefined;
  }
}

export function digestName(name: ImageName, digest: string): string {
  const { registry, repository } = name.reference;
  return formatReference({ registry, repository, digest });
}

/** Credentials for the registry they were given for, and no other. Without a server address they are the reference's. */
export function credentialsFor(name: ImageName, credentials: PullCredentials | undefined): Credentials | undefined {
  if (credentials === undefined) return undefined;
  const { serverAddress, ...rest } = credentials;
  if (serverAddress !== undefined && serverAddress !== '' && hostOf(serverAddress) !== name.reference.registry) return undefined;
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
