import { createRegistryClient } from '../../base/distribution/index.ts';
import type {
  Reference,
  RegistryClientOptions,
  RegistryRepository,
  RegistryRule,
} from '../../base/distribution/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import { credentialsOf } from '../credentials/find-credentials.ts';
import type { FindCredentials } from '../credentials/find-credentials.ts';

/**
 * Access to registries for a command: mirrors, plain HTTP where it is allowed, and the user's credentials.
 */
export interface RegistryAccess {
  /** The same options, for a client in another thread. */
  readonly options: RegistryClientOptions;
  /**
   * Returns the repositories to ask, in order, with the user's credentials.
   * @throws PortcullisError `TRUST_DOCKER_CONFIG`, `TRUST_CREDENTIAL_HELPER`
   */
  repositories(reference: Pick<Reference, 'registry' | 'repository'>): Promise<readonly RegistryRepository[]>;
  /** Closes every connection. */
  close(): Promise<void>;
}

/** How to reach registries, and with which credentials. */
export interface RegistryAccessOptions {
  /** `HOST=URL` each. The mirror replaces the host: the host itself is never asked. */
  readonly mirrors: readonly string[];
  /** Hosts that may be asked over plain HTTP. Loopback is always allowed. */
  readonly insecureHosts: readonly string[];
  /**
   * Folders like `/etc/containers/certs.d` that hold authorities and client certificates by host. Default:
   * the standard folders of containers and Docker.
   */
  readonly certificateFolders?: readonly string[];
  /**
   * The environment to take credentials from: `HOME`, `DOCKER_CONFIG`, `REGISTRY_AUTH_FILE` and `PATH` are
   * read. Default: that of this process.
   */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** The maximum number of connections to one registry. Default: that of the client. */
  readonly connections?: number;
}

/** The folders that containers and Docker search, in their order (containers-certs.d(5)). */
const standardFolders = ['/etc/containers/certs.d', '/etc/docker/certs.d'];

/**
 * Opens registries with the credentials of `docker login` and `podman login`.
 * @throws PortcullisError `TRUST_BAD_MIRROR`, and the errors of reading the credentials of mirrors
 */
export async function openRegistries(options: RegistryAccessOptions): Promise<RegistryAccess> {
  const find = credentialsOf(options.environment ?? process.env);
  const rules = new Map(await Promise.all(options.mirrors.map((text) => replacedBy(readMirror(text), find))));
  const certificateFolders = options.certificateFolders ?? standardFolders;
  const clientOptions: RegistryClientOptions = {
    rules,
    insecureHosts: options.insecureHosts,
    certificateFolders,
    ...(options.connections === undefined ? {} : { connections: options.connections }),
  };
  const client = createRegistryClient(clientOptions);
  return {
    options: clientOptions,
    repositories: async (reference) => {
      // A mirror that replaces the registry does not get the registry's credentials.
      const asked = !client.asksOrigin(reference) ? undefined : await find(reference);
      return client.repositories(reference, asked);
    },
    close: () => client.close(),
  };
}

/**
 * Returns the rule of a mirror, with the credentials of the mirror itself, which are stored under its host.
 */
async function replacedBy(
  [registry, url]: readonly [string, string],
  find: FindCredentials,
): Promise<[string, RegistryRule]> {
  const credentials = await find({ registry: new URL(url).host, repository: '' });
  return [
    registry,
    { mirrors: [{ url, ...(credentials === undefined ? {} : { credentials }) }], origin: false },
  ];
}

function readMirror(text: string): readonly [registry: string, url: string] {
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
  return [match[1] as string, match[2] as string];
}
