import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { parseJson } from '../json/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../errors/index.ts';
import { createHttpClient, isHttpError } from '../http/index.ts';
import type { HttpAnswer, HttpClient, TlsIdentity } from '../http/index.ts';
import type { ApiAccess } from './kubeconfig.ts';
import { createListSplitter } from './list-stream.ts';

/** The Kubernetes API over HTTP/1.1: one answer, or a stream of events. */
export interface ApiClient {
  /**
   * @throws KUBERNETES_API_UNREACHABLE · KUBERNETES_API_REFUSED (with `status`, and `retryAfterSeconds` if
   * the server sent it) · the errors of reading the access
   */
  get(path: string, query: Query, signal: AbortSignal): Promise<unknown>;
  /**
   * Calls `onItem` for each item of a list, as it arrives, and returns the list without its items.
   * @throws as `get`
   */
  list(path: string, query: Query, onItem: (item: unknown) => void, signal: AbortSignal): Promise<unknown>;
  /**
   * Writes an object, and returns what the server answers. Never repeated here: a write whose answer was lost
   * may have happened.
   * @throws as `get`. A conflict is `status` 409, an absent object 404.
   */
  send(change: ApiChange, signal: AbortSignal): Promise<unknown>;
  /** Calls `onEvent` for each event, until the server ends the stream. @throws as `get` */
  watch(
    path: string,
    query: Query,
    limits: WatchLimits,
    onOpen: () => void,
    onEvent: (event: unknown) => void,
    signal: AbortSignal,
  ): Promise<void>;
  close(): void;
}

export type Query = Readonly<Record<string, string>>;

/** One write (Kubernetes API concepts, "Resource URIs" and "Patch"). */
export interface ApiChange {
  readonly method: 'POST' | 'PUT' | 'PATCH';
  readonly path: string;
  readonly query?: Query;
  readonly body: unknown;
  /** The format of a PATCH. Default: `application/merge-patch+json`. */
  readonly contentType?:
    | 'application/merge-patch+json'
    | 'application/json-patch+json'
    | 'application/strategic-merge-patch+json'
    | 'application/apply-patch+yaml';
}

export interface ApiClientOptions {
  readonly userAgent: string;
  /**
   * What the user of the kubeconfig must be allowed to do, for the advice after 403: `list and watch pods`.
   */
  readonly rights: string;
  /** What is true while the server cannot be reached, for messages: `services stay as they are`. */
  readonly meanwhile: string;
}

interface OpenRequest {
  readonly method?: ApiChange['method'];
  readonly path: string;
  readonly query: Query;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Buffer;
}

interface Opened {
  readonly answer: HttpAnswer;
  readonly host: string;
}

interface RequestLimits {
  readonly totalMs: number;
  readonly silenceMs?: number;
}

/** When a stream is considered dead, in milliseconds. */
export interface WatchLimits {
  readonly silence: number;
  readonly whole: number;
}

/** etcd stores objects of at most 1.5 MiB, and a page has 500 of them. Few objects come near the limit. */
const answerBytes = 256 * 1024 * 1024;
const eventBytes = 16 * 1024 * 1024;
const itemBytes = eventBytes;
const answerMs = 60_000;
/** A list of a large cluster may come in one answer. */
const listLimits: RequestLimits = { totalMs: 600_000, silenceMs: answerMs };
const headersMs = 15_000;
/**
 * The kernel begins to probe a silent connection after this long. After ten probes, one second apart, the
 * connection is dead.
 */
const probeAfterMs = 10_000;

/**
 * Creates a client of the API. After a failure, the next of several servers is asked.
 * @param readAccess called before each request, because the files that the kubeconfig names may have been
 * renewed
 */
export function createApiClient(
  readAccess: () => Promise<ApiAccess>,
  { userAgent, rights, meanwhile }: ApiClientOptions,
): ApiClient {
  let connections: { readonly id: string; readonly client: HttpClient } | undefined;

  function clientFor({ id }: ApiAccess): HttpClient {
    if (connections?.id === id) return connections.client;
    // Open streams on the old connections end there and begin again on new ones.
    void connections?.client.close();
    const client = createHttpClient({
      userAgent,
      connections: 8,
      probeAfterMs,
      timeouts: { connect: headersMs, headers: headersMs },
    });
    connections = { id, client };
    return client;
  }

  /** Which of several servers is asked: the next one after a failure. */
  let turn = 0;

  const unreachable = (on: string, path: string, thrown: unknown): PortcullisError =>
    unreachableServer(on, path, meanwhile, thrown);

  /** Resolves with the head of a successful answer. The caller reads the body. */
  async function open(
    { path, query, ...request }: OpenRequest,
    limits: RequestLimits,
    signal: AbortSignal,
  ): Promise<Opened> {
    const access = await readAccess();
    const { server: first, others = [], authorization } = access;
    const servers = [first, ...others];
    const server = servers[turn % servers.length] ?? first;
    const url = new URL(
      `${server.origin}${server.pathname.replace(/\/+$/u, '')}${path}?${new URLSearchParams(query).toString()}`,
    );
    const headers = {
      accept: 'application/json',
      ...request.headers,
      ...(authorization !== undefined && { authorization }),
    };
    const tls = (): Promise<TlsIdentity> => Promise.resolve(identityOf(access));
    let answer: HttpAnswer;
    try {
      answer = await clientFor(access).send({
        ...request,
        url,
        headers,
        tls,
        signal,
        ...limits,
      });
    } catch (thrown) {
      if (!signal.aborted) turn += 1;
      throw unreachable(server.host, path, thrown);
    }
    if (answer.status >= 500) turn += 1;
    if (answer.status >= 200 && answer.status < 300) return { answer, host: server.host };
    throw await refusal(server.host, path, answer, rights);
  }

  async function ask(
    request: OpenRequest,
    signal: AbortSignal,
    limits: RequestLimits = { totalMs: answerMs },
    read: (answer: HttpAnswer) => Promise<unknown> = readWhole,
  ): Promise<unknown> {
    const { answer, host } = await open(request, limits, signal);
    try {
      return await read(answer);
    } catch (thrown) {
      if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
      throw unreachable(host, request.path, thrown);
    } finally {
      answer.destroy();
    }
  }

  return {
    get: (path, query, signal) => ask({ path, query, headers: { 'accept-encoding': 'gzip' } }, signal),

    list: (path, query, onItem, signal) =>
      ask({ path, query, headers: { 'accept-encoding': 'gzip' } }, signal, listLimits, (answer) =>
        readItems(answer, onItem),
      ),

    send: ({ method, path, query = {}, body, contentType = 'application/merge-patch+json' }, signal) =>
      ask(
        {
          method,
          path,
          query,
          headers: { 'content-type': method === 'PATCH' ? contentType : 'application/json' },
          body: Buffer.from(JSON.stringify(body)),
        },
        signal,
      ),

    async watch(path, query, limits, onOpen, onEvent, signal) {
      const begun = performance.now();
      // A little later than our own timers, whose reasons are more specific.
      const bounds = { totalMs: limits.whole + 5_000, silenceMs: limits.silence + 5_000 };
      // A stream may be silent for long. The head of its answer comes at once.
      const opening = new AbortController();
      const late = setTimeout(() => opening.abort(), headersMs);
      const request = { path, query: { ...query, watch: 'true' } };
      const { answer, host } = await open(request, bounds, AbortSignal.any([signal, opening.signal])).finally(
        () => clearTimeout(late),
      );
      onOpen();
      const wholeMs = Math.max(0, limits.whole - (performance.now() - begun));
      try {
        await readEvents(answer, { whole: wholeMs, silence: limits.silence }, onEvent);
      } catch (thrown) {
        if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
        throw unreachable(host, path, thrown);
      }
    },

    close() {
      void connections?.client.close();
      connections = undefined;
    },
  };
}

/** Calls `onEvent` for each event of a stream. @throws when the stream breaks, is silent or does not end */
async function readEvents(
  answer: HttpAnswer,
  limits: WatchLimits,
  onEvent: (event: unknown) => void,
): Promise<void> {
  let given: Error | undefined;
  const give = (why: string): void => {
    given = new Error(why);
    answer.destroy(given);
  };
  const whole = setTimeout(give, limits.whole, 'the stream did not end when it should have');
  const silent = setTimeout(give, limits.silence, `nothing came for ${limits.silence / 1000} s`);
  try {
    for await (const line of linesOf(answer.chunks(Infinity))) {
      silent.refresh();
      onEvent(parseJson(line));
    }
  } catch (thrown) {
    if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
    throw given ?? thrown;
  } finally {
    clearTimeout(whole);
    clearTimeout(silent);
    answer.destroy();
  }
}

function unreachableServer(on: string, path: string, meanwhile: string, thrown: unknown): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_API_UNREACHABLE',
    kind: 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: reasonOf(thrown),
    fix: `check that the API server runs and can be reached; it is asked again, and meanwhile ${meanwhile}`,
    cause: thrown,
  });
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      rest.push(chunk.subarray(from, end));
      const line = Buffer.concat(rest).toString('utf8');
      rest = [];
      length = 0;
      from = end + 1;
      if (line.trim() !== '') yield line;
    }
    length += chunk.length - from;
    if (length > eventBytes) throw new Error(`an event is larger than ${eventBytes} bytes`);
    if (from < chunk.length) rest.push(chunk.subarray(from));
  }
  if (length > 0) throw new Error('the stream broke off in the middle of an event');
}

const readWhole = async (answer: HttpAnswer): Promise<unknown> =>
  parseJson(await bodyOf(answer, answerBytes));

async function readItems(answer: HttpAnswer, onItem: (item: unknown) => void): Promise<unknown> {
  const splitter = createListSplitter(itemBytes);
  for await (const chunk of chunksOf(answer, Infinity))
    for (const item of splitter.take(chunk)) onItem(parseJson(item));
  return parseJson(splitter.end());
}

/** @param mostBytes of the body as it is sent */
function chunksOf(answer: HttpAnswer, mostBytes: number): AsyncIterable<Buffer> {
  if (answer.header('content-encoding') !== 'gzip') return answer.chunks(mostBytes) as AsyncIterable<Buffer>;
  const sent = Readable.from(answer.chunks(mostBytes));
  const body = createGunzip();
  sent.once('error', (error) => body.destroy(error)).pipe(body);
  return body as AsyncIterable<Buffer>;
}

/** Reads a body that may be compressed. */
async function bodyOf(answer: HttpAnswer, mostBytes: number): Promise<string> {
  if (answer.header('content-encoding') !== 'gzip') return (await answer.bytes(mostBytes)).toString('utf8');
  const body = chunksOf(answer, mostBytes);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > mostBytes) throw new Error(`the answer is larger than ${mostBytes} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Only the certificate authority of the kubeconfig is trusted for its server. */
function identityOf({ id, tls }: ApiAccess): TlsIdentity {
  const { ca, ...rest } = tls;
  return { id, only: true, ...rest, ...(ca !== undefined && { ca: [ca] }) };
}

/**
 * Reads what a failed answer says: a `Status` of the Kubernetes API, or any text of a proxy in front of it.
 */
async function refusal(
  host: string,
  path: string,
  answer: HttpAnswer,
  rights: string,
): Promise<PortcullisError> {
  const { status } = answer;
  const text = await bodyOf(answer, 64 * 1024).catch(() => '');
  answer.destroy();
  let said = '';
  try {
    const { message } = parseJson(text) as { message?: unknown };
    if (typeof message === 'string') said = message.slice(0, 500);
  } catch {
    // The answer does not come from the API server itself.
  }
  const seconds = Number(answer.header('retry-after') ?? NaN);
  return refused(host, path, status, said, Number.isFinite(seconds) ? seconds : undefined, rights);
}

const adviceFor = (status: number, rights?: string): string => {
  if (status === 401) return 'renew the credentials that the kubeconfig names';
  if (status === 403 && rights !== undefined) return `let the user of the kubeconfig ${rights}`;
  return 'it is asked again; look at the API server if this goes on';
};

/** Also used for a stream event that says why the stream ends. */
export function refused(
  on: string,
  path: string,
  status: number,
  said: string,
  retryAfterSeconds?: number,
  rights?: string,
): PortcullisError {
  return new PortcullisError({
    code: 'KUBERNETES_API_REFUSED',
    kind: status === 401 || status === 403 ? 'denied' : 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: `it answered ${status}${said === '' ? '' : `: ${said}`}`,
    fix: adviceFor(status, rights),
    details: { status, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) },
  });
}

/** The server no longer has the requested version (410 Gone). */
export const expired = 410;

const detailOf = (thrown: unknown, name: string): number | undefined => {
  const value = isPortcullisError(thrown) ? thrown.failure.details?.[name] : undefined;
  return typeof value === 'number' ? value : undefined;
};
/** Returns the status of a refusal by the server, or undefined for any other error. */
export const statusOf = (thrown: unknown): number | undefined => detailOf(thrown, 'status');
/** In milliseconds, at most a minute. */
export const retryAfterOf = (thrown: unknown): number =>
  Math.min(60, Math.max(0, detailOf(thrown, 'retryAfterSeconds') ?? 0)) * 1000;
