import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { PortcullisError, fileReason, reasonOf, orThrow } from '../../base/errors/index.ts';
import { readGivenFile } from '../../base/files/index.ts';
import { isHttpError, isLoopback, sharedHttpClient } from '../../base/http/index.ts';
import { recordOf } from '../json/strict-json.ts';

/**
 * Where to look for an OIDC identity token. It is never a command-line argument, because any process may read
 * those.
 */
export interface IdentityTokenSource {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** A file that contains the token. */
  readonly file?: string;
  /** An environment variable that contains the token. */
  readonly variable?: string;
  /** The requested audience of the token; default: `sigstore`. */
  readonly audience?: string;
  readonly now: Date;
}

/** A token whose form has been checked. Fulcio checks its issuer. */
export interface IdentityToken {
  readonly text: string;
  /** The identity that it names: the verified address, else the subject. */
  readonly subject: string;
  /** The origin of the token: `GitHub Actions`, a variable, a file. */
  readonly from: string;
}

const maximumBytes = 64 * 1024;
/** Where Kubernetes and other systems project a token (cosign, pkg/providers/filesystem). */
const projectedFile = '/var/run/sigstore/cosign/oidc-token';

/**
 * Returns the identity token of the current user: from the named file or variable, else from
 * SIGSTORE_ID_TOKEN (which GitLab's `id_tokens` sets), else from the environment: GitHub Actions, Buildkite,
 * a projected file.
 * @throws PortcullisError `TRUST_IDENTITY_TOKEN`; the error never contains any part of a token
 */
export async function findIdentityToken(source: IdentityTokenSource): Promise<IdentityToken> {
  const { environment, audience = 'sigstore', now } = source;
  const named = (name: string): string | undefined =>
    environment[name] === '' ? undefined : environment[name];
  if (source.file !== undefined)
    return readIdentityToken(await fromFile(source.file), `the file ${source.file}`, now);
  if (source.variable !== undefined) {
    const text = named(source.variable);
    if (text === undefined)
      throw fail(
        `the variable ${source.variable}`,
        'it is not set',
        'name a variable that contains the token',
      );
    return readIdentityToken(text, `the variable ${source.variable}`, now);
  }
  const given = named('SIGSTORE_ID_TOKEN');
  if (given !== undefined) return readIdentityToken(given, 'the variable SIGSTORE_ID_TOKEN', now);
  const url = named('ACTIONS_ID_TOKEN_REQUEST_URL');
  const bearer = named('ACTIONS_ID_TOKEN_REQUEST_TOKEN');
  if (url !== undefined && bearer !== undefined)
    return readIdentityToken(await fromGitHub(url, bearer, audience), 'GitHub Actions', now);
  if (named('BUILDKITE') === 'true')
    return readIdentityToken(await fromBuildkite(audience, environment), 'Buildkite', now);
  if ((await stat(projectedFile).catch(() => undefined)) !== undefined)
    return readIdentityToken(await fromFile(projectedFile), projectedFile, now);
  throw fail(
    'the environment',
    'there is no identity token: neither GitHub Actions, GitLab, Buildkite nor a variable or file offers one',
    'run in CI with an OIDC token (GitHub: permissions: id-token: write; GitLab: id_tokens: SIGSTORE_ID_TOKEN), or name --identity-token-file',
  );
}

async function fromFile(file: string): Promise<string> {
  try {
    return (await readGivenFile(file, maximumBytes)).toString('utf8');
  } catch (error) {
    throw fail(`the file ${file}`, fileReason(error, file), 'name a readable file that contains the token');
  }
}

/** Requests a token from GitHub's token service: a URL with a query, and a bearer token for it. */
async function fromGitHub(address: string, bearer: string, audience: string): Promise<string> {
  const url = URL.parse(address);
  const loopback = url !== null && isLoopback(url.hostname);
  const refuse = (why: string): PortcullisError =>
    fail('GitHub Actions', why, 'give the job `permissions: { id-token: write }`, and run it again');
  if (url === null || (url.protocol !== 'https:' && !loopback))
    throw refuse('the address of its token service is not https');
  url.searchParams.append('audience', audience);
  try {
    const answer = await sharedHttpClient().send({
      url,
      headers: { accept: 'application/json', authorization: `Bearer ${bearer}` },
      totalMs: 20_000,
    });
    if (answer.status < 200 || answer.status > 299) {
      await answer.discard();
      const isRedirect = answer.status >= 300 && answer.status <= 399;
      throw refuse(
        `its token service answers ${answer.status}${isRedirect ? ': a redirect, which is not followed with a token' : ''}`,
      );
    }
    const value = recordOf(parseJson((await answer.bytes(maximumBytes)).toString('utf8')))?.['value'];
    if (typeof value !== 'string') throw refuse('its token service returned no token');
    return value;
  } catch (error) {
    if (error instanceof PortcullisError && !isHttpError(error)) throw error;
    // The message of a syntax error quotes the text.
    throw refuse(
      error instanceof SyntaxError ? 'the answer of its token service is not JSON' : reasonOf(error),
    );
  }
}

function fromBuildkite(audience: string, environment: IdentityTokenSource['environment']): Promise<string> {
  return new Promise((resolve, reject) => {
    const args = ['oidc', 'request-token', '--audience', audience];
    execFile(
      'buildkite-agent',
      args,
      { env: environment, timeout: 30_000, maxBuffer: maximumBytes },
      (error, stdout) => {
        if (error === null) resolve(stdout);
        else {
          const why =
            error.code === 'ENOENT'
              ? 'there is no such program'
              : `it ended with ${String(error.code ?? error.signal)}`;
          reject(fail('buildkite-agent', why, 'run it in a Buildkite job with the agent on the PATH'));
        }
      },
    );
  });
}

/**
 * Reads the claims of a token: three parts of base64url, of which the second states identity and expiry (RFC
 * 7519).
 * @throws PortcullisError `TRUST_IDENTITY_TOKEN`; the error contains no part of the token
 */
export function readIdentityToken(raw: string, from: string, now: Date): IdentityToken {
  const text = raw.trim();
  const refuse = (why: string): PortcullisError =>
    fail(from, why, 'fetch a fresh OIDC token with the audience "sigstore"');
  const [, payload] = /^[\w-]+\.([\w-]+)\.[\w-]*$/.exec(text) ?? [];
  if (payload === undefined) throw refuse('it is not a token (JWT)');
  const claims: Readonly<Record<string, unknown>> = orThrow(
    () => recordOf(parseJson(Buffer.from(payload, 'base64url').toString('utf8'))) ?? {},
    () => refuse('its claims are not JSON'),
  );
  if (typeof claims['exp'] === 'number' && claims['exp'] * 1000 <= now.getTime())
    throw refuse(`it expired at ${new Date(claims['exp'] * 1000).toISOString()}`);
  const { email, email_verified: verified, sub } = claims;
  if (typeof email === 'string' && email !== '') {
    if (verified !== true && verified !== 'true')
      throw refuse('its issuer has not verified the email address');
    return { text, subject: email, from };
  }
  if (typeof sub !== 'string' || sub === '') throw refuse('it names no subject');
  return { text, subject: sub, from };
}

function fail(on: string, why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'TRUST_IDENTITY_TOKEN',
    kind: 'precondition',
    attempted: 'get an identity token',
    on,
    why,
    fix,
  });
}
