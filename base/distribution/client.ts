import { LRUCache } from 'lru-cache';
import { createAuthorisation } from './authorisation.ts';
import { createCertificates } from './certificates.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { createHostRules } from './hosts.ts';
import type { Endpoint } from './hosts.ts';
import { asksOrigin, blockedPrefix, ruleFor } from './name-rules.ts';
import { createPull } from './pull.ts';
import { createKeyedQueue } from '../queues/index.ts';
import { createPush } from './push.ts';
import { createReferrers } from './referrers.ts';
import { createSession } from './session.ts';
import { createTransport } from './transport.ts';
import { createUpload } from './upload.ts';
import type {
  Credentials,
  RegistryClient,
  RegistryClientOptions,
  RegistryRepository,
  RegistryRule,
} from './types.ts';

/** Longer than a writer of fallback tags keeps the list that it has read, on a busy machine. */
const defaultSettleMs = 250;
const mostRemembered = 256;

/**
 * Creates a client of OCI registries (distribution-spec 1.1). It sends no request before a repository's first
 * call.
 */
export function createRegistryClient(options: RegistryClientOptions = {}): RegistryClient {
  const certificates = createCertificates(options);
  const rules = createHostRules(options.insecureHosts ?? [], certificates.names);
  const named: ReadonlyMap<string, RegistryRule> = options.rules ?? new Map();
  const mirrors = new Map(
    [...named].map(([prefix, rule]) => [
      prefix,
      (rule.mirrors ?? []).map((mirror) => ({ ...mirror, ...rules.mirror(prefix, mirror) })),
    ]),
  );
  const shared = sharedMirrors(mirrors);
  const transport = createTransport(options, rules, certificates);
  const documentTimeout = options.timeouts?.document ?? 60_000;
  const authorisation = createAuthorisation(transport, rules, documentTimeout);

  const attempts = options.retry?.attempts ?? 3;
  const { run: takeTurns } = createKeyedQueue();
  /** Origins of registries whose last answer was that they have no referrers API. */
  const withoutReferrers = new LRUCache<string, true>({ max: mostRemembered });

  function repositoryAt(
    endpoint: Endpoint,
    repository: string,
    credentials: Credentials | undefined,
    { answersTags = true, mirrorOf }: { readonly answersTags?: boolean; readonly mirrorOf?: string } = {},
  ): RegistryRepository {
    const session = createSession(
      { origin: endpoint.origin, host: endpoint.host, repository, credentials, mirrorOf },
      transport,
      authorisation,
      documentTimeout,
    );
    const pull = createPull(session, { documentTimeout, attempts, answersTags });
    return {
      host: endpoint.host,
      repository,
      answersTags,
      ...pull,
      referrers: createReferrers(session, pull.manifest, documentTimeout, attempts, {
        lacksApi: () => withoutReferrers.has(endpoint.origin),
        note: (lacksApi) => {
          if (lacksApi) withoutReferrers.set(endpoint.origin, true);
          else withoutReferrers.delete(endpoint.origin);
        },
      }),
      // A list that other clients write at the same time is read again without such waits
      // (write-conflicts.ts).
      ...createUpload(session, attempts),
      ...createPush(
        session,
        createPull(session, { documentTimeout, attempts: 1, answersTags }),
        takeTurns,
        options.tagSettleMs ?? defaultSettleMs,
      ),
    };
  }

  return {
    repositories({ registry, repository }, credentials) {
      const task: Task = { attempted: 'find the sources', on: `of ${registry}/${repository}` };
      const blocked = (prefix: string, what = 'the name'): Error =>
        distributionError(
          'DISTRIBUTION_BLOCKED',
          task,
          `the configuration blocks ${what}: ${prefix} is blocked`,
          { details: { prefix } },
        );
      const refused = blockedPrefix(named, { registry, repository });
      if (refused !== undefined) throw blocked(refused);
      const found = ruleFor(named, { registry, repository });
      let last: string | undefined;
      const places = (mirrors.get(found?.prefix ?? '') ?? []).flatMap((mirror) => {
        const there = `${mirror.prefix}${found?.rest ?? ''}`.replace(/\/$/, '');
        if (there === '')
          throw distributionError(
            'DISTRIBUTION_BAD_MIRROR',
            task,
            `the path of this name at the mirror ${mirror.host} would be empty`,
          );
        const barred = blockedPrefix(named, { registry: mirror.host, repository: there });
        last = barred ?? last;
        if (barred !== undefined) return [];
        const isNamed = shared.has(placeOf(mirror)) && mirror.host !== rules.origin(registry).host;
        const kind = { answersTags: mirror.tags ?? true, ...(isNamed ? { mirrorOf: registry } : {}) };
        return [repositoryAt(mirror, there, mirror.credentials, kind)];
      });
      if (found?.rule.origin !== false)
        places.push(repositoryAt(rules.origin(registry), repository, credentials));
      else if (places.length === 0 && last !== undefined) throw blocked(last, 'its only mirrors');
      return places;
    },
    asksOrigin: (name) => asksOrigin(named, name),
    close: () => transport.close(),
  };
}

type MirrorPlace = Pick<Endpoint, 'origin'> & { readonly prefix: string };

const placeOf = ({ origin, prefix }: MirrorPlace): string => `${origin}/${prefix}`;

/** Returns the places that are mirrors of several registries: only there, requests must name the registry. */
function sharedMirrors(mirrors: ReadonlyMap<string, readonly MirrorPlace[]>): ReadonlySet<string> {
  const registries = new Map<string, Set<string>>();
  for (const [name, places] of mirrors) {
    const [registry = ''] = name.split('/');
    for (const place of places) {
      const known = registries.get(placeOf(place)) ?? new Set();
      registries.set(placeOf(place), known.add(registry));
    }
  }
  const isShared = (names: ReadonlySet<string>): boolean =>
    names.size > 1 || [...names].some((name) => name.startsWith('*'));
  return new Set([...registries].filter(([, names]) => isShared(names)).map(([place]) => place));
}
