import { createHmac, randomBytes } from 'node:crypto';
import { isPortcullisError, orThrow } from '../errors/index.ts';
import { parseJson } from '../json/index.ts';
import { orAborted } from '../queues/index.ts';
import { errorWords, readBody } from './body.ts';
import { parseChallenges } from './challenge.ts';
import type { Challenge } from './challenge.ts';
import { record } from './descriptor.ts';
import { distributionError, statusFailure } from './failure.ts';
import type { Task } from './failure.ts';
import type { HostRules } from './hosts.ts';
import { networkFailure } from './network-failure.ts';
import { isHttpError } from '../http/index.ts';
import type { HttpAnswer } from '../http/index.ts';
import type { HttpRequest, Transport } from './transport.ts';
import type { Credentials } from './types.ts';

const answerLimit = 256 * 1024;
const giveCredentials =
  'for a command, use podman login or docker login; for a pull by the daemon, give the pod a pull secret, or use crictl --creds';
const cacheLimit = 1000;
/** The lifetime of a token whose answer does not state one (distribution, token authentication: 60 s). */
const defaultLifeSeconds = 60;

/** The scope of a header: no other request shares it. */
export interface Grant {
  /** Scheme, host and port of the registry. */
  readonly origin: string;
  readonly repository: string;
  readonly actions: 'pull' | 'pull,push';
  readonly credentials: Credentials | undefined;
  /** A scope that is requested whatever the challenge says. */
  readonly scope?: string;
}

/**
 * Answers registries' challenges, and caches the headers by origin, scope and credentials until they expire.
 */
export interface Authorisation {
  /** Returns the header that is known to work, without a request. */
  known(grant: Grant): string | undefined;
  /**
   * Returns the header that answers a 401. @throws PortcullisError DISTRIBUTION_UNAUTHORIZED when the
   * challenge cannot be answered
   * @param used the header that was refused
   * @param signal ends the wait with its reason. The request for a token continues, because other callers
   * can wait for it
   */
  answer(
    grant: Grant,
    refused: HttpAnswer,
    task: Task,
    used: string | undefined,
    signal?: AbortSignal,
  ): Promise<string>;
  /** Drops a header that a registry no longer accepts. */
  forget(grant: Grant): void;
}

interface Kept {
  readonly header: string;
  readonly expiresAt: number;
}

export function createAuthorisation(
  transport: Transport,
  rules: HostRules,
  documentTimeout: number,
): Authorisation {
  const salt = randomBytes(32);
  const kept = new Map<string, Kept>();
  const underWay = new Map<string, Promise<Kept>>();

  const keyOf = ({ origin, repository, actions, credentials = {} }: Grant): string => {
    const { username, password, identityToken, registryToken } = credentials;
    return createHmac('sha256', salt)
      .update(JSON.stringify([origin, repository, actions, username, password, identityToken, registryToken]))
      .digest('base64');
  };

  function known(grant: Grant): string | undefined {
    if (grant.credentials?.registryToken !== undefined) return bearer(grant.credentials.registryToken);
    const found = kept.get(keyOf(grant)) ?? kept.get(keyOf(wholeRegistry(grant)));
    return found !== undefined && performance.now() < found.expiresAt ? found.header : undefined;
  }

  async function answer(
    grant: Grant,
    refused: HttpAnswer,
    task: Task,
    used: string | undefined,
    signal?: AbortSignal,
  ): Promise<string> {
    const newer = known(grant);
    if (newer !== undefined && newer !== used) {
      // Another request was answered while this one was in flight.
      await refused.discard();
      return newer;
    }
    forget(grant);
    const challenges = parseChallenges(refused.headerValues('www-authenticate'));
    const words = await errorWords(refused, grant.credentials, used);
    const deny = (why: string, more?: { readonly fix: string }) =>
      distributionError('DISTRIBUTION_UNAUTHORIZED', task, `${refused.url.host} ${why}${words}`, more);
    const { credentials } = grant;
    if (credentials?.registryToken !== undefined) throw deny('does not accept the registry token');
    const bearerChallenge = challenges.find(({ scheme }) => scheme === 'bearer');
    const basicOffered = challenges.some(({ scheme }) => scheme === 'basic');
    const key = keyOf(grant);
    if (bearerChallenge !== undefined) {
      const pending =
        underWay.get(key) ??
        fetchToken(grant, bearerChallenge, refused.url, task).finally(() => underWay.delete(key));
      underWay.set(key, pending);
      // The token service is what the caller waited for, not the registry.
      const service = URL.parse(bearerChallenge.params['realm'] ?? '') ?? refused.url;
      const value = await orAborted(pending, signal).catch((thrown: unknown) => {
        throw networkFailure(thrown, service, task, signal);
      });
      return keep(key, value);
    }
    if (!basicOffered) throw deny('requires an unsupported type of authentication');
    if (credentials?.username === undefined || credentials.password === undefined)
      throw deny('requires a user name and a password', { fix: giveCredentials });
    return keep(keyOf(wholeRegistry(grant)), {
      header: basic(credentials.username, credentials.password),
      expiresAt: Infinity,
    });
  }

  function keep(key: string, value: Kept): string {
    if (kept.size >= cacheLimit) kept.clear();
    kept.set(key, value);
    return value.header;
  }

  /**
   * Runs distribution-spec's token authentication: GET with Basic, or OAuth2's refresh for an identity token.
   */
  async function fetchToken(grant: Grant, challenge: Challenge, registry: URL, task: Task): Promise<Kept> {
    const realm = tokenService(challenge.params['realm'], registry, rules, task);
    const request = tokenRequest(grant, challenge, realm);
    const answered = await transport
      .send({ ...request, totalMs: documentTimeout, ledBy: registry, task })
      .catch((error: unknown) => {
        const { cause } = error as Error;
        if (!isHttpError(cause) || cause.code !== 'HTTP_ADDRESS_REFUSED') throw error;
        throw refuseTokenService(registry, task, `at an address that is not allowed: ${cause.failure.why}`);
      });
    if (answered.status !== 200) {
      const words = await errorWords(answered, grant.credentials, request.headers['authorization']);
      const who = `the token service ${realm.host}`;
      const refused = answered.status >= 400 && answered.status < 500 && answered.status !== 429;
      throw refused
        ? distributionError('DISTRIBUTION_UNAUTHORIZED', task, `${who} answers ${answered.status}${words}`)
        : statusFailure(answered, task, who, words);
    }
    const bad = (why: string) =>
      distributionError('DISTRIBUTION_BAD_ANSWER', task, `the token service ${realm.host} ${why}`);
    const bytes = await readBody(answered, answerLimit, task).catch((thrown: unknown) => {
      const isTooLarge = isPortcullisError(thrown) && thrown.code === 'DISTRIBUTION_TOO_LARGE';
      throw isTooLarge ? bad(`answers more than ${answerLimit} bytes`) : thrown;
    });
    return readToken(bytes, bad);
  }

  function forget(grant: Grant): void {
    kept.delete(keyOf(grant));
    kept.delete(keyOf(wholeRegistry(grant)));
  }

  return { known, answer, forget };
}

/** Returns a GET with Basic authentication, or OAuth2's refresh for an identity token. Pure. */
function tokenRequest(
  grant: Grant,
  challenge: Challenge,
  realm: URL,
): Pick<HttpRequest, 'method' | 'url' | 'headers' | 'body'> {
  const { username, password, identityToken } = grant.credentials ?? {};
  const scope = grant.scope ?? challenge.params['scope'] ?? `repository:${grant.repository}:${grant.actions}`;
  const service = challenge.params['service'];
  const fields = new URLSearchParams();
  if (service !== undefined) fields.set('service', service);
  if (identityToken === undefined) {
    const url = new URL(realm);
    for (const one of scope.split(' ')) if (one !== '') fields.append('scope', one);
    for (const [name, value] of fields) url.searchParams.append(name, value);
    const headers =
      username === undefined || password === undefined ? {} : { authorization: basic(username, password) };
    return { method: 'GET', url, headers };
  }
  fields.set('scope', scope);
  fields.set('grant_type', 'refresh_token');
  fields.set('refresh_token', identityToken);
  fields.set('client_id', 'portcullis');
  return {
    method: 'POST',
    url: realm,
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
    body: Buffer.from(fields.toString()),
  };
}

/** A password is requested once per registry, not once per repository. */
function wholeRegistry(grant: Grant): Grant {
  return { ...grant, repository: '', actions: 'pull' };
}

function refuseTokenService(registry: URL, task: Task, why: string): Error {
  return distributionError(
    'DISTRIBUTION_UNAUTHORIZED',
    task,
    `${registry.host} names a token service ${why}`,
    {
      fix: 'report this to the operator of the registry',
    },
  );
}

/**
 * Returns the URL of the token service. Credentials are sent there, so it must be as safe as the registry:
 * https, or plain HTTP if that is allowed and the registry uses plain HTTP too.
 */
function tokenService(realm: string | undefined, registry: URL, rules: HostRules, task: Task): URL {
  const url = realm === undefined ? null : URL.parse(realm);
  const refuse = (why: string) => refuseTokenService(registry, task, why);
  if (url === null || !['http:', 'https:'].includes(url.protocol))
    throw refuse('whose address is not an http or https URL');
  if (url.username !== '' || url.password !== '') throw refuse('whose address contains credentials');
  if (!rules.mayAsk(url) || (url.protocol === 'http:' && registry.protocol === 'https:'))
    throw refuse(`that uses plain HTTP, ${url.host}`);
  return url;
}

function readToken(bytes: Uint8Array, bad: (why: string) => Error): Kept {
  const fields: Readonly<Record<string, unknown>> = orThrow(
    () => record(parseJson(Buffer.from(bytes).toString('utf8'))) ?? {},
    () => bad('does not answer in JSON'),
  );
  // A server in Go may write the one that it does not give as an empty text.
  const token = [fields['token'], fields['access_token']].find((one) => (one ?? '') !== '');
  if (typeof token !== 'string' || !/^[\x21-\x7e]+$/.test(token)) throw bad('gives no token');
  const { expires_in: expiresIn } = fields;
  const life = typeof expiresIn === 'number' && expiresIn > 0 ? expiresIn : defaultLifeSeconds;
  // The token is renewed a little early. The time is measured from now, by a monotonic clock.
  return { header: bearer(token), expiresAt: performance.now() + (life - Math.min(10, life / 5)) * 1000 };
}

function bearer(token: string): string {
  return `Bearer ${token}`;
}

function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}
