import { rootCertificates } from 'node:tls';
import { Agent } from 'undici';
import { parseReference } from '../../../base/distribution/index.ts';
import { openRegistries } from '../../registry-access.ts';
import type { RegistryAccess } from '../../registry-access.ts';
import { tufFailure } from '../failure.ts';
import { defaultTufTag, ociSource } from './oci-source.ts';
import { httpSource } from './http-source.ts';
import type { HttpSourceOptions } from './http-source.ts';
import type { TufSource } from './source.ts';

export interface OpenSourceOptions extends HttpSourceOptions {
  /** PEM: who certifies the server, beside those of the system. */
  readonly authorities?: string;
}

/**
 * A repository's metadata by their address.
 * @param url `https://…`, `http://…`, `oci://REGISTRY/REPOSITORY[:TAG]`
 * @throws TRUST_TUF_UNREACHABLE for another kind of address
 */
export function openSource(url: string, { authorities, ...options }: OpenSourceOptions = {}): TufSource {
  if (url.startsWith('oci://')) return lazyOciSource(url);
  if (!/^https?:\/\//u.test(url)) throw tufFailure('TRUST_TUF_UNREACHABLE', url, 'this kind of address is not known');
  return httpSource(url, { ...options, ...(authorities === undefined ? {} : { agent: agentOf(authorities) }) });
}

const agents = new Map<string, Agent>();

/** Connections to one service are shared by its files and its updates. */
function agentOf(authorities: string): Agent {
  let agent = agents.get(authorities);
  if (agent === undefined) {
    agent = new Agent({ connect: { ca: [...rootCertificates, authorities] } });
    agents.set(authorities, agent);
  }
  return agent;
}

let registries: Promise<RegistryAccess> | undefined;

/** Metadata in a registry (oci-source.ts), with the logins of whoever runs this. Registries are reached when something is asked for. */
function lazyOciSource(url: string): TufSource {
  const reference = parseReference(url.slice('oci://'.length));
  const tagged = url.lastIndexOf(':') > url.lastIndexOf('/') ? reference.tag : undefined;
  let source: Promise<TufSource> | undefined;
  const open = async (): Promise<TufSource> => {
    registries ??= openRegistries({ mirrors: [], insecureHosts: [] });
    const repository = (await (await registries).repositories(reference)).at(-1);
    if (repository === undefined) throw tufFailure('TRUST_TUF_UNREACHABLE', url, 'no registry serves it');
    return ociSource(repository, tagged ?? defaultTufTag);
  };
  return { fetch: async (name, mostBytes) => (await (source ??= open())).fetch(name, mostBytes) };
}
