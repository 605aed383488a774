import { PortcullisError, isPortcullisError, reasonOf } from '../errors/index.ts';
import type { Failure } from '../errors/index.ts';
import { certificateFailure } from './certificate-failure.ts';

export type HttpCode =
  | 'HTTP_ADDRESS_REFUSED'
  | 'HTTP_BAD_ADDRESS'
  | 'HTTP_BAD_ANSWER'
  | 'HTTP_BAD_PROXY'
  | 'HTTP_BAD_REDIRECT'
  | 'HTTP_CANCELLED'
  | 'HTTP_TOO_LARGE'
  | 'HTTP_TOO_SLOW'
  | 'HTTP_UNREACHABLE';

const catalogue: Readonly<Record<HttpCode, Pick<Failure, 'kind' | 'fix'>>> = {
  HTTP_ADDRESS_REFUSED: { kind: 'denied', fix: 'ask the operator of the server that names this address' },
  HTTP_BAD_ADDRESS: {
    kind: 'invalid',
    fix: 'write the address as http://HOST[:PORT]/PATH or https://…, without a user',
  },
  HTTP_BAD_ANSWER: {
    kind: 'unavailable',
    fix: 'check that this host and port belong to the intended service, and check any proxy in front of it',
  },
  HTTP_BAD_PROXY: {
    kind: 'precondition',
    fix: 'set HTTPS_PROXY, HTTP_PROXY and NO_PROXY as docs/configuration.md describes',
  },
  HTTP_BAD_REDIRECT: {
    kind: 'denied',
    fix: 'ask the operator of the server why it sends clients to an address that is not allowed',
  },
  HTTP_CANCELLED: { kind: 'cancelled', fix: 'repeat the request if it is still needed' },
  HTTP_TOO_LARGE: { kind: 'invalid', fix: 'serve a smaller answer' },
  HTTP_TOO_SLOW: { kind: 'unavailable', fix: 'check the server and the network to it, then try again' },
  HTTP_UNREACHABLE: {
    kind: 'unavailable',
    fix: 'check that the server runs and can be reached from here, then try again',
  },
};

/**
 * Returns the error of a request over HTTP. The code decides the kind and, unless `more` has one, the remedy.
 * The error does not contain the query of the URL.
 */
export function httpError(
  code: HttpCode,
  url: URL,
  why: string,
  more: Pick<Failure, 'details' | 'cause'> & { readonly fix?: string } = {},
): PortcullisError<HttpCode> {
  // A query may contain a signature or a token.
  const on = `${url.protocol}//${url.host}${url.pathname}`;
  return new PortcullisError({ code, ...catalogue[code], attempted: 'ask', on, why, ...more });
}

/** Returns whether a thrown value is a failure of this client. */
export function isHttpError(thrown: unknown): thrown is PortcullisError<HttpCode> {
  return isPortcullisError(thrown) && thrown.code in catalogue;
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'nothing listens there',
  ECONNRESET: 'it closed the connection unexpectedly',
  EPIPE: 'it closed the connection unexpectedly',
  UND_ERR_SOCKET: 'it closed the connection unexpectedly',
  UND_ERR_CLOSED: 'the client was closed',
  UND_ERR_DESTROYED: 'the client was closed',
  ENOTFOUND: 'its name cannot be resolved',
  EAI_AGAIN: 'its name cannot be resolved at the moment',
  EHOSTUNREACH: 'there is no route to it',
  ENETUNREACH: 'there is no route to it',
  ERR_SSL_WRONG_VERSION_NUMBER: 'it does not speak TLS, perhaps only plain HTTP',
  ETIMEDOUT: 'it did not answer in time',
  UND_ERR_CONNECT_TIMEOUT: 'it did not accept a connection in time',
  UND_ERR_HEADERS_TIMEOUT: 'it did not begin an answer in time',
  UND_ERR_BODY_TIMEOUT: 'it stopped in the middle of its answer',
};

const tooSlow: ReadonlySet<string> = new Set([
  'ETIMEDOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
]);

/**
 * Converts an error of undici or a socket into a failure that names the host. @param signal the signal of the
 * request, including its deadline
 */
export function asHttpError(thrown: unknown, url: URL, signal?: AbortSignal): PortcullisError {
  if (isPortcullisError(thrown)) return thrown;
  if (signal?.aborted === true) {
    const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError';
    if (late)
      return httpError('HTTP_TOO_SLOW', url, `the request to ${url.host} exceeded its time limit`, {
        cause: thrown,
      });
    return httpError('HTTP_CANCELLED', url, 'the caller cancelled the request', { cause: thrown });
  }
  const inner = deepest(thrown);
  if (isPortcullisError(inner)) return inner;
  const code = inner instanceof Error && 'code' in inner ? String(inner.code) : '';
  if (code === 'UND_ERR_HEADERS_OVERFLOW' || (inner instanceof Error && inner.name === 'HTTPParserError')) {
    return httpError(
      'HTTP_BAD_ANSWER',
      url,
      `${url.host} does not speak HTTP correctly (${reasonOf(inner)})`,
      { cause: thrown },
    );
  }
  const status = /^Proxy response \((\d+)\)|Authentication Required \((407)\)/u.exec(reasonOf(inner));
  if (status !== null)
    return httpError('HTTP_BAD_PROXY', url, `the proxy answers ${status[1] ?? status[2]} for ${url.host}`, {
      cause: thrown,
    });
  const certificate = certificateFailure(inner, code);
  if (certificate !== undefined)
    return httpError('HTTP_UNREACHABLE', url, `${url.host}: ${certificate.why}`, {
      fix: certificate.fix,
      details: { host: url.host, code, certificate: certificate.kind },
      cause: thrown,
    });
  return httpError(
    tooSlow.has(code) ? 'HTTP_TOO_SLOW' : 'HTTP_UNREACHABLE',
    url,
    `${url.host}: ${reasons[code] ?? tlsReason(inner, code) ?? reasonOf(inner)}`,
    {
      details: { host: url.host, code },
      cause: thrown,
    },
  );
}

/** Converts an error of a connection to a proxy. Otherwise the message would name the server. */
export function asProxyError(thrown: unknown, proxy: URL): PortcullisError {
  const { code, failure } = asHttpError(thrown, new URL(proxy.origin));
  return httpError(code as HttpCode, new URL(proxy.origin), `the proxy ${failure.why}`, {
    fix: 'check the proxy, and HTTPS_PROXY, HTTP_PROXY and NO_PROXY',
    details: { ...failure.details, proxy: proxy.host },
    cause: thrown,
  });
}

/** The message of an error of OpenSSL has several lines, with a thread id and a place in its source code. */
function tlsReason(thrown: unknown, code: string): string | undefined {
  const has = code.startsWith('ERR_SSL_') && thrown instanceof Error && 'reason' in thrown;
  return has ? `the TLS connection failed (${String(thrown.reason)})` : undefined;
}

/**
 * Returns the first of several attempts' errors. For a wrapped refusal (undici wraps a connector's errors),
 * returns the refusal.
 */
function deepest(thrown: unknown): unknown {
  if (thrown instanceof AggregateError && thrown.errors[0] instanceof Error) return thrown.errors[0];
  if (thrown instanceof Error && isPortcullisError(thrown.cause)) return thrown.cause;
  return thrown;
}
