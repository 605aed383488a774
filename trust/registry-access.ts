import { createRegistryClient } from '../base/distribution/index.ts';
import type { Mirror, Reference, RegistryClientOptions, RegistryRepository } from '../base/distribution/index.ts';
import { PortcullisError } from '../base/errors/index.ts';
import { credentialsOf } from './credentials/find-credentials.ts';
import type { FindCredentials } from './credentials/find-credentials.ts';

/** Registries as a command reaches them: mirrors, plain HTTP where it was allowed, and the user's credentials. */
export interface RegistryAccess {
  /** For a client in another thread. */
  readonly options: RegistryClientOptions;
  /**
   * Where to ask for a repository, in order, with the user's credentials.
   * @throws PortcullisError `TRUST_DOCKER_CONFIG`, `TRUST_CREDENTIAL_HELPER`
   */
  repositories(reference: Pick<Reference, 'registry' | 'repository'>): Promise<readonly RegistryRepository[]>;
  /** Ends every connection. */
  close(): Promise<void>;
}

/** How registries are reached, and with whose credentials. */
export interface RegistryAccessOptions {
  /** `HOST=URL`, each; the mirror stands for the host, whose origin is then never asked. */
  readonly mirrors: readonly string[];
  /** Hosts that may be asked over plain HTTP; loopback always may. */
  readonly insecureHosts: readonly string[];
  /** Folders as `/etc/containers/certs.d`, with authorities and client certificates by host; those of containers and docker unless given. */
  readonly certificateFolders?: readonly string[];
  /** Whose credentials: `HOME`, `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE` and `PATH` are looked at. This process's unless given. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/** Where containers and docker look, in their order (containers-certs.d(5)). */
const standardFolders = ['/etc/containers/certs.d', '/etc/docker/certs.d'];

/**
 * Opens registries with the credentials of `docker login` and `podman login`.
 * @throws PortcullisError `TRUST_BAD_MIRROR`, and of the mirrors' credentials
 */
export async function openRegistries(options: RegistryAccessOptions): Promise<RegistryAccess> {
  const find = credentialsOf(options.environment ?? process.env);
  const mirrors = new Map(await Promise.all(options.mirrors.map((text) => withCredentials(readMirror(text), find))));
  const certificateFolders = options.certificateFolders ?? standardFolders;
  const clientOptions: RegistryClientOptions = { mirrors, insecureHosts: options.insecureHosts, certificateFolders };
  const client = createRegistryClient(clientOptions);
  return {
    options: clientOptions,
    repositories: async (reference) => {
      // A mirror that stands for the registry gets no credentials of the registry.
      const asked = mirrors.has(reference.registry) ? undefined : await find(reference);
      return client.repositories(reference, asked);
    },
    close: () => client.close(),
  };
}

/** A mirror has credentials of its own, under its own host. */
async function withCredentials([registry, mirror]: [string, Mirror], find: FindCredentials): Promise<[string, Mirror]> {
  const credentials = await find({ registry: new URL(mirror.url).host, repository: '' });
  return [registry, { ...mirror, ...(credentials === undefined ? {} : { credentials }) }];
}

function readMirror(text: string): [string, Mirror] {
  const match = /^([^=/\s]+)=(https?:\/\/\S+)$/.exec(text);
  if (match === null) {
    throw new PortcullisError({
      code: 'TRUST_BAD_MIRROR',
      kind: 'invalid',
      attempted: 'read registry mirror',
      on: text,
      why: 'it is not HOST=URL',
      fix: 'write it like registry.k8s.io=http://127.0.0.1:5000',
    });
  }
  return [match[1] as string, { url: match[2] as string, origin: false }];
}
