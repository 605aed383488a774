import type { Grant } from './authorisation.ts';
import { createAuthorisation } from './authorisation.ts';
import { createCertificates } from './certificates.ts';
import { parseChallenges } from './challenge.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import { createHostRules } from './hosts.ts';
import { asksOrigin } from './name-rules.ts';
import { createTransport } from './transport.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { Credentials, RegistryClientOptions } from './types.ts';

/** A read request to a service beside registries that uses the same challenges: a trust service. */
export interface ServiceQuestion {
  /** The address of the service. */
  readonly service: URL;
  /** The service's name for the repository; Notary uses `HOST/PATH`. */
  readonly repository: string;
  /** Credentials that were given for a registry. They are for that host alone. */
  readonly pull?: { readonly registry: string; readonly credentials: Credentials };
  /** Credentials for the service itself. */
  readonly login?: Credentials;
}

/**
 * Answers the challenges of such services (distribution, token authentication), and caches the headers until
 * they expire.
 */
export interface ServiceTokens {
  /** Returns the header that is known to work, without a request. */
  known(question: ServiceQuestion): string | undefined;
  /**
   * Returns the header that answers a 401. The registry's credentials are sent only to the registry's own
   * host, or to the token service that the registry itself names, and only for reading this one repository.
   * Otherwise the service's login is used; without one, no credentials.
   * @param used the header that was refused
   * @throws PortcullisError DISTRIBUTION_UNAUTHORIZED, DISTRIBUTION_UNREACHABLE, DISTRIBUTION_BAD_ANSWER
   */
  answer(question: ServiceQuestion, refused: HttpAnswer, used: string | undefined): Promise<string>;
  close(): Promise<void>;
}

/** A registry rarely moves its token service. */
const rememberedMs = 10 * 60 * 1000;
const answerMs = 10_000;

/** Creates an independent instance. Like a registry client, it sends no request before the first call. */
export function createServiceTokens(options: RegistryClientOptions = {}): ServiceTokens {
  const certificates = createCertificates(options);
  const rules = createHostRules(options.insecureHosts ?? [], certificates.names);
  const timeouts = { connect: 5_000, headers: answerMs, idle: answerMs, ...options.timeouts };
  const transport = createTransport({ ...options, timeouts, retry: { attempts: 1 } }, rules, certificates);
  const authorisation = createAuthorisation(transport, rules, options.timeouts?.document ?? answerMs);
  const named = new Map<string, { readonly until: number; readonly url: Promise<URL | undefined> }>();

  /**
   * Returns the token service that a registry's own clients use: its origin names it in the answer to `GET
   * /v2/`.
   */
  async function askRegistry(registry: string): Promise<URL | undefined> {
    const { origin } = rules.origin(registry);
    const task: Task = { attempted: 'find the token service', on: registry };
    const answered = await transport.send({
      method: 'GET',
      url: new URL('/v2/', origin),
      headers: {},
      totalMs: answerMs,
      task,
    });
    await answered.discard();
    // If the registry redirects, the answer of the target is not the registry's own statement.
    if (answered.status !== 401 || answered.url.origin !== origin) return undefined;
    return realmOf(answered);
  }

  function tokenServiceOf(registry: string, repository: string): Promise<URL | undefined> {
    if (!asksOrigin(options.rules, { registry, repository })) return Promise.resolve(undefined);
    const known = named.get(registry);
    if (known !== undefined && performance.now() < known.until) return known.url;
    const url = askRegistry(registry).catch(() => {
      named.delete(registry);
      return undefined;
    });
    if (named.size >= 1000) named.clear();
    named.set(registry, { until: performance.now() + rememberedMs, url });
    return url;
  }

  async function mayHave(registry: string, repository: string, receiver: URL): Promise<boolean> {
    if (!rules.mayAsk(receiver)) return false;
    if (receiver.hostname === new URL(rules.origin(registry).origin).hostname) return true;
    const own = await tokenServiceOf(registry, repository);
    return own !== undefined && own.origin === receiver.origin && own.pathname === receiver.pathname;
  }

  /** Notary's name for a repository begins with the registry. */
  const repositoryAt = ({ repository, pull }: ServiceQuestion): string =>
    pull !== undefined && repository.startsWith(`${pull.registry}/`)
      ? repository.slice(pull.registry.length + 1)
      : repository;
  const grantOf = ({ service, repository }: ServiceQuestion): Grant => ({
    origin: service.origin,
    repository,
    actions: 'pull',
    credentials: undefined,
  });
  const pullGrant = (question: ServiceQuestion): Grant | undefined => {
    const { username, password, identityToken } = question.pull?.credentials ?? {};
    const login = username === undefined || password === undefined ? undefined : { username, password };
    // A registry token is for the registry, and this is another service.
    const credentials: Credentials | undefined = identityToken === undefined ? login : { identityToken };
    if (credentials === undefined) return undefined;
    // This code sets the scope. If the service could choose it, the service would get the caller's rights
    // elsewhere.
    return { ...grantOf(question), credentials, scope: `repository:${question.repository}:pull` };
  };
  const ownGrant = (question: ServiceQuestion): Grant => ({
    ...grantOf(question),
    credentials: question.login,
  });

  return {
    known(question) {
      const pull = pullGrant(question);
      return (pull && authorisation.known(pull)) ?? authorisation.known(ownGrant(question));
    },
    async answer(question, refused, used) {
      const task: Task = {
        attempted: 'ask trust service',
        on: `${question.service.host}/${question.repository}`,
      };
      if (!rules.mayAsk(question.service)) {
        await refused.discard();
        throw distributionError(
          'DISTRIBUTION_UNAUTHORIZED',
          task,
          `${question.service.host} requires authentication, but it uses plain HTTP`,
          {
            fix: 'serve it over https, or configure it as an insecure registry',
          },
        );
      }
      const pull = pullGrant(question);
      const receiver = realmOf(refused) ?? question.service;
      const mine =
        pull !== undefined &&
        question.pull !== undefined &&
        (await mayHave(question.pull.registry, repositoryAt(question), receiver));
      return authorisation.answer(mine ? pull : ownGrant(question), refused, task, used);
    },
    close: () => transport.close(),
  };
}

function realmOf(answer: HttpAnswer): URL | undefined {
  const bearer = parseChallenges(answer.headerValues('www-authenticate')).find(
    ({ scheme }) => scheme === 'bearer',
  );
  return URL.parse(bearer?.params['realm'] ?? '') ?? undefined;
}
