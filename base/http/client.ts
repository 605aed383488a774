import type { LookupFunction } from 'node:net';
import { Readable } from 'node:stream';
import { answerOf } from './answer.ts';
import type { HttpAnswer } from './answer.ts';
import type { Connections } from './connections.ts';
import { asHttpError, httpError } from './failure.ts';
import { redirectTarget, refusalOf, withoutCredentials } from './redirects.ts';
import type { Reach } from './redirects.ts';
import type { Environment } from './proxy-environment.ts';
import { carrying } from './in-place.ts';
import type { InPlace } from './in-place.ts';
import type { TlsIdentity } from './tls-identity.ts';
import type { TrustAnchors } from './trust-anchors.ts';

/**
 * The bytes of a request, or a function that opens them once more for each attempt. A source that is opened
 * must yield exactly as many bytes as the `content-length` header says.
 */
export type RequestBody = Uint8Array | (() => AsyncIterable<Uint8Array>);

export interface HttpRequest {
  readonly url: URL;
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  /**
   * Authorization and everything else that may be a secret stays at the URL's origin: scheme, host and port.
   */
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  /** Milliseconds for the whole request, including redirects and the body of the answer. */
  readonly totalMs: number;
  /**
   * Milliseconds without data until an answer begins, and between two pieces of it. Default: the values of
   * the client.
   */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal | undefined;
  /**
   * How many redirects of a GET or HEAD are followed. Default: none. One more redirect fails with
   * `HTTP_BAD_REDIRECT`.
   */
  readonly redirects?: number;
  /**
   * The server that named this URL, if the caller did not: the URL is judged like a redirect of that server.
   */
  readonly ledBy?: URL | undefined;
  /** Called before each request, including redirects. Throws if the URL must not be requested. */
  readonly check?: (url: URL) => void;
  /** Returns how the host of a URL is verified. */
  readonly tls?: (url: URL) => Promise<TlsIdentity | undefined>;
}

export interface HttpClientOptions {
  /** Milliseconds: 5000 to connect, 30000 until an answer begins, 30000 between two pieces of a body. */
  readonly timeouts?: { readonly connect?: number; readonly headers?: number; readonly idle?: number };
  /** Maximum number of connections to one origin. Default: 64. */
  readonly connections?: number;
  readonly userAgent?: string;
  /** HTTPS_PROXY, HTTP_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR. Default: those of this process. */
  readonly environment?: Environment;
  /** Resolves names. Default: the system's resolver. */
  readonly lookup?: LookupFunction;
  /** The system's certificate authorities. Default: those of the environment. */
  readonly anchors?: TrustAnchors;
  /** Milliseconds without data after which the kernel probes a connection. Default: 60000. */
  readonly probeAfterMs?: number;
  /**
   * Size of a buffer of each connection, into which everything is received: for large bodies that are read
   * with `each`. All else is copied out of it. Default: undici allocates each piece.
   */
  readonly receiveBytes?: number;
}

/** The only way out: every HTTP request of this process to a server goes through it. */
export interface HttpClient {
  /**
   * @returns the head of the answer, for any status; also for 3xx when no redirects are followed
   * @throws PortcullisError HTTP_UNREACHABLE · HTTP_TOO_SLOW · HTTP_CANCELLED · HTTP_BAD_ANSWER ·
   * HTTP_BAD_ADDRESS · HTTP_BAD_REDIRECT · HTTP_ADDRESS_REFUSED · HTTP_BAD_PROXY
   */
  send(request: HttpRequest): Promise<HttpAnswer>;
  /** Closes every connection. Pending requests fail. */
  close(): Promise<void>;
}

/** Longer than any request may take: the largest value of a timer. */
const longestMs = 2 ** 31 - 1;

/** undici and TLS are a quarter of the start of a command, and many commands request nothing. */
async function open(options: HttpClientOptions, connectMs: number): Promise<Connections> {
  const { openConnections } = await import('./connections.ts');
  return openConnections({
    connectMs,
    most: options.connections ?? 64,
    environment: options.environment ?? process.env,
    probeAfterMs: options.probeAfterMs ?? 60_000,
    ...(options.lookup === undefined ? {} : { lookup: options.lookup }),
    ...(options.anchors === undefined ? {} : { anchors: options.anchors }),
    ...(options.receiveBytes === undefined ? {} : { receiveBytes: options.receiveBytes }),
  });
}

/** Creates a client with its own connections. It requests and reads nothing before the first request. */
export function createHttpClient(options: HttpClientOptions = {}): HttpClient {
  const { connect = 5_000, headers: headersMs = 30_000, idle: idleMs = 30_000 } = options.timeouts ?? {};
  const userAgent = options.userAgent ?? 'portcullis';
  let isClosed = false;
  let opening: Promise<Connections> | undefined;
  /** A failure, such as one for lack of descriptors, is not remembered: the next request tries again. */
  async function opened(url: URL, signal: AbortSignal): Promise<Connections> {
    const tried = (opening ??= open(options, connect));
    try {
      return await tried;
    } catch (error) {
      if (opening === tried) opening = undefined;
      throw asHttpError(error, url, signal);
    }
  }

  interface Hop extends HttpRequest {
    readonly method: NonNullable<HttpRequest['method']>;
    readonly reach: Reach;
    readonly signal: AbortSignal;
    readonly connections: Connections;
  }

  async function exchange({
    connections,
    url,
    method,
    headers,
    body,
    silenceMs,
    signal,
    reach,
    tls,
    check,
  }: Hop): Promise<HttpAnswer> {
    check?.(url);
    const once = async (): Promise<HttpAnswer> => {
      signal.throwIfAborted();
      const dispatcher = await connections.dispatcherFor(
        url,
        reach,
        url.protocol === 'https:' ? await tls?.(url) : undefined,
      );
      const inPlace: InPlace = {};
      const received = await dispatcher.request({
        ...carrying(inPlace),
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        // Without it, a server may choose any encoding (RFC 9110, §12.5.3).
        headers: { 'user-agent': userAgent, 'accept-encoding': 'identity', ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'function' ? Readable.from(body()) : body }),
        headersTimeout: silenceMs ?? headersMs,
        bodyTimeout: silenceMs ?? idleMs,
        signal,
        // undici would close the connection after each HEAD, and the next request would need a new TLS
        // handshake.
        reset: false,
      });
      return answerOf(received, url, signal, inPlace);
    };
    try {
      return await once();
    } catch (error) {
      // The server closed a kept connection in the meantime. Repeating the request is safe for these two
      // methods.
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
      throw httpError('HTTP_BAD_ADDRESS', url, 'it is not an http or https address, or it contains a user');
    if (isClosed) throw httpError('HTTP_UNREACHABLE', url, `${url.host}: the client was closed`);
    const connections = await opened(url, signal);
    let reach: Reach = 'any';
    if (ledBy !== undefined && ledBy.origin !== url.origin) {
      reach = connections.classOf(ledBy);
      const why = refusalOf(ledBy, url, reach);
      if (why !== undefined) throw httpError('HTTP_ADDRESS_REFUSED', url, `${ledBy.host} leads ${why}`);
    }
    for (let hop = 0; ; hop += 1) {
      const answer = await exchange({ ...request, connections, method, url, headers, signal, reach });
      const follows = redirects > 0 && isRedirect(answer.status) && (method === 'GET' || method === 'HEAD');
      if (!follows) return answer;
      const from = connections.classOf(url);
      const location = answer.header('location');
      await answer.discard();
      const next = redirectTarget(url, location, from);
      if (hop >= redirects)
        throw httpError(
          'HTTP_BAD_REDIRECT',
          request.url,
          `${url.host} redirects, and more than ${redirects} redirects are not followed`,
        );
      if (next.origin !== url.origin) {
        headers = withoutCredentials(headers);
        reach = from;
      }
      url = next;
    }
  }

  async function close(): Promise<void> {
    isClosed = true;
    const connections = await opening?.catch(() => undefined);
    await connections?.close();
  }

  return { send, close };
}

/** Returns whether a status redirects a GET or HEAD (RFC 9110, section 15.4). */
export function isRedirect(status: number): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

let shared: HttpClient | undefined;

/**
 * Returns the client that all requests of this thread share if they need no options of their own. Sharing
 * connections costs less than opening them.
 */
export function sharedHttpClient(): HttpClient {
  return (shared ??= createHttpClient());
}
