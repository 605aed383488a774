import { createHash } from 'node:crypto';
import { parseReference } from '../../base/distribution/index.ts';
import type { Reference, RegistryRepository } from '../../base/distribution/index.ts';
import type { TlsIdentity } from '../../base/http/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import { defaultTufTag, ociSource } from './oci-source.ts';
import { httpSource } from './http-source.ts';
import type { HttpSourceOptions } from './http-source.ts';
import type { TufSource } from './source.ts';

/** Returns the repositories to ask, in order, each with the credentials of its registry. */
export type FindRepositories = (reference: Reference) => Promise<readonly RegistryRepository[]>;

export interface OpenSourceOptions extends HttpSourceOptions {
  /** PEM: authorities that certify the server, in addition to the system's. */
  readonly authorities?: string;
  /** For metadata in a registry. */
  readonly repositories?: FindRepositories;
}

/**
 * Opens the metadata of a repository by its address.
 * @param url `https://…`, `http://…`, `oci://REGISTRY/REPOSITORY[:TAG]`
 * @throws TRUST_TUF_UNREACHABLE for any other address
 */
export function openSource(
  url: string,
  { authorities, repositories, ...options }: OpenSourceOptions = {},
): TufSource {
  if (url.startsWith('oci://') && repositories !== undefined) return lazyOciSource(url, repositories);
  if (!/^https?:\/\//u.test(url))
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, 'this kind of address is not known');
  return httpSource(url, {
    ...options,
    ...(authorities === undefined ? {} : { tls: believedBy(authorities) }),
  });
}

function believedBy(authorities: string): TlsIdentity {
  return { id: createHash('sha256').update(authorities).digest('base64'), ca: [authorities] };
}

/** Opens metadata in a registry (oci-source.ts). Registries are contacted at the first request. */
function lazyOciSource(url: string, find: FindRepositories): TufSource {
  const reference = parseReference(url.slice('oci://'.length));
  const tagged = url.lastIndexOf(':') > url.lastIndexOf('/') ? reference.tag : undefined;
  let source: Promise<TufSource> | undefined;
  const open = async (): Promise<TufSource> => {
    const repositories = await find(reference);
    if (repositories.length === 0) throw tufFailure('TRUST_TUF_UNREACHABLE', url, 'no registry serves it');
    return ociSource(repositories, tagged ?? defaultTufTag);
  };
  return { fetch: async (name, mostBytes) => (await (source ??= open())).fetch(name, mostBytes) };
}
