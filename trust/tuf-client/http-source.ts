import { isHttpError, retryAfterMs, sharedHttpClient } from '../../base/http/index.ts';
import type { HttpAnswer, HttpClient, TlsIdentity } from '../../base/http/index.ts';
import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import { tufFailure } from '../tuf/failure.ts';
import type { TufSource } from './source.ts';

export interface HttpSourceOptions {
  /** How long one file may take in total, and how long the server may stay silent; milliseconds. */
  readonly deadlineMs?: number;
  readonly silenceMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** Authenticates at a service that requires it. */
  readonly access?: HttpAccess;
  /** Aborts all requests. */
  readonly signal?: AbortSignal;
  /** The client whose connections are used. Default: the client that all requests of this thread share. */
  readonly client?: HttpClient;
  /** The TLS identity by which the server is trusted. */
  readonly tls?: TlsIdentity;
}

/** The `Authorization` header for a service. */
export interface HttpAccess {
  /** Returns the header that worked before. */
  known(): string | undefined;
  /** Returns the header that answers a 401. @throws PortcullisError when there is none */
  answer(refused: HttpAnswer, used: string | undefined): Promise<string>;
}

/**
 * Returns a source that fetches metadata over HTTP.
 * @param base address of the metadata, such as `https://tuf.example.com/metadata`
 */
export function httpSource(base: string, options: HttpSourceOptions = {}): TufSource {
  const root = base.replace(/\/+$/u, '');
  return { fetch: (name, mostBytes) => download(`${root}/${name}`, mostBytes, options) };
}

/**
 * Downloads one file of at most `mostBytes`, within the deadline.
 * @returns undefined for 403 and 404: stores such as S3 answer 403 for a file that does not exist
 * @throws TRUST_TUF_UNREACHABLE · TRUST_TUF_UNAUTHORIZED · TRUST_TUF_TOO_LARGE · TRUST_TUF_TOO_SLOW
 */
export async function download(
  url: string,
  mostBytes: number,
  options: HttpSourceOptions = {},
): Promise<Buffer | undefined> {
  const { deadlineMs = 60_000, signal, access } = options;
  const own = AbortSignal.timeout(deadlineMs);
  const late = signal === undefined ? own : AbortSignal.any([own, signal]);
  try {
    const used = access?.known();
    let answer = await request(new URL(url), used, late, options);
    if (answer.status === 401 && access !== undefined) {
      const header = await authorised(url, access.answer(answer, used));
      answer = await request(new URL(url), header, late, options);
    }
    const { status } = answer;
    if (status === 200) return await answer.bytes(mostBytes);
    const retryMs = retryAfterMs(answer.header('retry-after'));
    await answer.discard();
    if (status === 404 || status === 403) return undefined;
    if (status === 401)
      throw tufFailure(
        'TRUST_TUF_UNAUTHORIZED',
        url,
        'the service requires authentication, and the credentials are not sufficient',
      );
    throw tufFailure('TRUST_TUF_UNREACHABLE', url, `the server answered ${status}`, undefined, {
      ...(retryMs === undefined ? {} : { retryAfterMs: retryMs }),
    });
  } catch (thrown) {
    throw failureOf(thrown, url, mostBytes, late, options);
  }
}

const defaultSilenceMs = 10_000;

function request(
  url: URL,
  authorization: string | undefined,
  signal: AbortSignal,
  {
    client = sharedHttpClient(),
    headers = {},
    silenceMs = defaultSilenceMs,
    deadlineMs = 60_000,
    tls,
  }: HttpSourceOptions,
): Promise<HttpAnswer> {
  return client.send({
    url,
    headers: { ...headers, ...(authorization === undefined ? {} : { authorization }) },
    silenceMs,
    totalMs: deadlineMs,
    signal,
    ...(tls === undefined ? {} : { tls: () => Promise.resolve(tls) }),
  });
}

function failureOf(
  thrown: unknown,
  url: string,
  mostBytes: number,
  late: AbortSignal,
  options: HttpSourceOptions,
): Error {
  const { deadlineMs = 60_000, silenceMs = defaultSilenceMs } = options;
  if (isPortcullisError(thrown) && !isHttpError(thrown)) return thrown;
  const code = isHttpError(thrown) ? thrown.code : undefined;
  if (code === 'HTTP_TOO_LARGE')
    return tufFailure('TRUST_TUF_TOO_LARGE', url, `it is larger than ${mostBytes} bytes`, thrown);
  if (late.aborted || code === 'HTTP_TOO_SLOW')
    return tufFailure(
      'TRUST_TUF_TOO_SLOW',
      url,
      `it did not arrive within ${deadlineMs} ms, or no data arrived for ${silenceMs} ms`,
      thrown,
    );
  return tufFailure('TRUST_TUF_UNREACHABLE', url, reasonOf(thrown), thrown);
}

/**
 * Returns the header. A refusal by the token service counts as a refusal by the service. When the token
 * service is unreachable, its answer remains unknown.
 */
async function authorised(url: string, header: Promise<string>): Promise<string> {
  try {
    return await header;
  } catch (thrown) {
    if (!isPortcullisError(thrown) || thrown.code.startsWith('TRUST_TUF_')) throw thrown;
    const code = thrown.kind === 'denied' ? 'TRUST_TUF_UNAUTHORIZED' : 'TRUST_TUF_UNREACHABLE';
    throw tufFailure(code, url, thrown.failure.why, thrown);
  }
}
