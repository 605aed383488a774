import type { LookupFunction } from 'node:net';
import { answerOf } from './answer.ts';
import type { HttpAnswer } from './answer.ts';
import { openConnections } from './connections.ts';
import { asHttpError, httpError } from './failure.ts';
import { redirectTarget, refusalOf, withoutCredentials } from './lead.ts';
import type { Reach } from './lead.ts';
import type { Environment } from './proxy-environment.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { TrustAnchors } from './trust-anchors.ts';

export interface HttpRequest {
  readonly url: URL;
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  /** Authorization and everything else that may be a secret stays at the URL's origin: scheme, host and port. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  /** Milliseconds in all: redirects and the body of the answer included. */
  readonly totalMs: number;
  /** Silent milliseconds until an answer begins, and between two pieces of it; those of the client unless given. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** How many redirects of a GET or HEAD are followed; none unless given. Where none is left, `HTTP_BAD_REDIRECT`. */
  readonly redirects?: number;
  /** The server that named this URL, where it was not the caller: the URL is judged as a redirect of that server is. */
  readonly ledBy?: URL | undefined;
  /** Asked before each request, redirects included. Throws where a URL may not be asked. */
  readonly check?: (url: URL) => void;
  /** Whom the host of a URL is believed by. */
  readonly tls?: (url: URL) => Promise<TlsIdentity | undefined>;
}

export interface HttpClientOptions {
  /** Milliseconds: to connect 5000, until an answer begins 30000, between two pieces of a body 30000. */
  readonly timeouts?: { readonly connect?: number; readonly headers?: number; readonly idle?: number };
  /** Connections to one origin: 64 unless given. */
  readonly connections?: number;
  readonly userAgent?: string;
  /** HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR; this process's unless given. */
  readonly environment?: Environment;
  /** Resolves names; the system's resolver unless given. */
  readonly lookup?: LookupFunction;
  /** The system's authorities; those of the environment unless given. */
  readonly anchors?: TrustAnchors;
  /** After so many silent milliseconds the kernel probes a connection: 60000 unless given. */
  readonly probeAfterMs?: number;
}

/** The one way out: every request of this process to a server over HTTP. */
export interface HttpClient {
  /**
   * @returns the head of the answer, whatever its status; 3xx too where no redirects are followed
   * @throws PortcullisError HTTP_UNREACHABLE · HTTP_TOO_SLOW · HTTP_CANCELLED · HTTP_BAD_ANSWER · HTTP_BAD_ADDRESS · HTTP_BAD_REDIRECT · HTTP_ADDRESS_REFUSED · HTTP_BAD_PROXY
   */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Ends every connection; what is under way fails. */
  close(): Promise<void>;
}

/** Longer than any request may take: what a timer can hold. */
const longestMs = 2 ** 31 - 1;

/** Makes a client with connections of its own. Nothing is asked or read until a request. */
export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const { connect = 5_000, headers: headersMs = 30_000, idle: idleMs = 30_000 } = options.timeouts ?? {};
  const userAgent = options.userAgent ?? 'portcullis';
  const connections = openConnections({
    connectMs: connect,
    most: options.connections ?? 64,
    environment: options.environment ?? process.env,
    probeAfterMs: options.probeAfterMs ?? 60_000,
    ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
  });

  interface Hop extends HttpRequest {
    readonly method: NonNullable<HttpRequest['method']>;
    readonly reach: Reach;
    readonly signal: AbortSignal;
  }

  async function exchange({ url, method, headers, body, silenceMs, signal, reach, tls, check }: Hop): Promise<HttpAnswer> {
    check?.(url);
    const once = async (): Promise<HttpAnswer> => {
      signal.throwIfAborted();
      const dispatcher = await connections.dispatcherFor(url, reach, url.protocol === 'https:' ? await tls?.(url) : undefined);
      const received = await dispatcher.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { 'user-agent': userAgent, ...headers },
        ...(body === undefined ? {} : { body }),
        headersTimeout: silenceMs ?? headersMs,
        bodyTimeout: silenceMs ?? idleMs,
        signal,
        // undici would end the connection after each HEAD, and pay a TLS handshake for the next request.
        reset: false,
      });
      return answerOf(received, url, signal);
    };
    try {
      return await once();
    } catch (error) {
      // A kept connection that the server closed meanwhile; asking again is safe for these two.
      if ((method === 'GET' || method === 'HEAD') && isBrokenConnection(error) && !signal.aborted)
        return await once().catch((second: unknown) => Promise.reject(asHttpError(second, url, signal)));
      throw asHttpError(error, url, signal);
    }
  }

  async function send(request: HttpRequest): Promise<HttpAnswer> {
    const { method = 'GET', redirects = 0, totalMs, ledBy } = request;
    const limit = AbortSignal.timeout(Math.min(Math.ceil(totalMs), longestMs));
    const signal = request.signal === undefined ? limit : AbortSignal.any([request.signal, limit]);
    let { url, headers = {} } = request;
    if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '' || url.password !== '')
      throw httpError('HTTP_BAD_ADDRESS', url, 'it is not an address of http or https, or it holds a user');
    let reach: Reach = 'any';
    if (ledBy !== undefined && ledBy.origin !== url.origin) {
      reach = connections.classOf(ledBy);
      const why = refusalOf(ledBy, url, reach);
      if (why !== undefined) throw httpError('HTTP_ADDRESS_REFUSED', url, `${ledBy.host} leads ${why}`);
    }
    for (let hop = 0; ; hop += 1) {
      const answer = await exchange({ ...request, method, url, headers, signal, reach });
      const follows = redirects > 0 && isRedirect(answer.status) && (method === 'GET' || method === 'HEAD');
      if (!follows) return answer;
      const from = connections.classOf(url);
      const location = answer.header('location');
      await answer.discard();
      const next = redirectTarget(url, location, from);
      if (hop >= redirects)
        throw httpError('HTTP_BAD_REDIRECT', request.url, `${url.host} redirects: there are more than ${redirects} redirects`);
      if (next.origin !== url.origin) {
        headers = withoutCredentials(headers);
        reach = from;
      }
      url = next;
    }
  }

  return { send, close: () => connections.close() };
}

/** Statuses that lead a GET or HEAD elsewhere (RFC 9110, section 15.4). */
export function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

let shared: HttpClient | undefined;

/** One client for all requests of this thread that need no options of their own: sharing connections costs less than making them. */
export function sharedHttpClient(): HttpClient {
  return (shared ??= createHttpClient());
}
