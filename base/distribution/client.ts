import { createAuthorisation } from './authorisation.ts';
import { createCertificates } from './certificates.ts';
import { createHostRules } from './hosts.ts';
import type { Endpoint } from './hosts.ts';
import { createPull } from './pull.ts';
import { createKeyedQueue } from '../queues/index.ts';
import { createPush } from './push.ts';
import { createReferrers } from './referrers.ts';
import { createSession } from './session.ts';
import { createTransport } from './transport.ts';
import type { Credentials, RegistryClient, RegistryClientOptions, RegistryRepository } from './types.ts';

/** Longer than a writer of fallback tags keeps the list that it has read, on a busy machine. */
const defaultSettleMs = 250;

/**
 * Creates a client of OCI registries (distribution-spec 1.1). It sends no request before a repository's first
 * call.
 */
export function createRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  const certificates = createCertificates(options.certificateFolders ?? []);
  const rules = createHostRules(options.insecureHosts ?? [], certificates.names);
  const mirrors = new Map(
    [...(options.mirrors ?? [])].map(([registry, mirror]) => [registry, { ...mirror, endpoint: rules.mirror(registry, mirror) }]),
  );
  const transport = createTransport(options, rules, certificates);
  const documentTimeout = options.timeouts?.document ?? 60_000;
  const authorisation = createAuthorisation(transport, rules, documentTimeout);

  const { run: takeTurns } = createKeyedQueue();

  function repositoryAt(endpoint: Endpoint, name: string, credentials: Credentials | undefined): RegistryRepository {
    const repository = `${endpoint.prefix}${name}`;
    const session = createSession(
      { origin: endpoint.origin, host: endpoint.host, repository, credentials },
      transport,
      authorisation,
      documentTimeout,
    );
    const pull = createPull(session, documentTimeout);
    return {
      host: endpoint.host,
      repository,
      ...pull,
      referrers: createReferrers(session, pull.manifest, documentTimeout),
      ...createPush(session, pull, takeTurns, options.tagSettleMs ?? defaultSettleMs),
    };
  }

  return {
    repositories({ registry, repository }, credentials) {
      const mirror = mirrors.get(registry);
      const places = mirror === undefined ? [] : [repositoryAt(mirror.endpoint, repository, mirror.credentials)];
      if (mirror?.origin !== false) places.push(repositoryAt(rules.origin(registry), repository, credentials));
      return places;
    },
    close: () => transport.close(),
  };
}
