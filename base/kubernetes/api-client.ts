import { isPortcullisError } from '../errors/index.ts';
import type { PortcullisError } from '../errors/index.ts';
import { createHttpClient, isHttpError } from '../http/index.ts';
import type { HttpAnswer, HttpClient, TlsIdentity } from '../http/index.ts';
import { readEvents, readItems, readWhole } from './api-answers.ts';
import type { WatchLimits } from './api-answers.ts';
import { refusal, unreachableServer } from './api-errors.ts';
import type { ApiAccess } from './kubeconfig.ts';
import type { MessageFields } from './protobuf-fields.ts';
import { protobufType } from './protobuf-list.ts';

/** The Kubernetes API over HTTP/1.1: one answer, or a stream of events. */
export interface ApiClient {
  /**
   * @throws KUBERNETES_API_UNREACHABLE · KUBERNETES_API_REFUSED (with `status`, and `retryAfterSeconds` if
   * the server sent it) · the errors of reading the access
   */
  get(path: string, query: Query, signal: AbortSignal): Promise<unknown>;
  /**
   * Calls `onItem` for each item of a list, as it arrives, and returns the list without its items.
   * @param fields asks for Protocol Buffers, of which these fields of an item are read. Absent: JSON
   * @throws as `get`
   */
  list(
    path: string,
    query: Query,
    onItem: (item: unknown) => void,
    signal: AbortSignal,
    fields?: MessageFields,
  ): Promise<unknown>;
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
  /** Permissions that the user of the kubeconfig needs, for the advice after 403: `list and watch pods`. */
  readonly rights: string;
  /** The situation while the server cannot be reached, for messages: `services stay as they are`. */
  readonly meanwhile: string;
  /** Called for each answer with the time by the clock of the server, in ms, if the answer says it. */
  readonly onDate?: (time: number) => void;
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

const answerMs = 60_000;
/** A list of a large cluster may come in one answer. */
const listLimits: RequestLimits = { totalMs: 600_000, silenceMs: answerMs };
const headersMs = 15_000;
/**
 * The kernel begins to probe a silent connection after this long. After ten probes, one second apart, the
 * connection is dead.
 */
const probeAfterMs = 10_000;

/** Keeps the connections of one access, until another one replaces it. */
function createConnections(userAgent: string): {
  clientFor(access: ApiAccess): HttpClient;
  close(): void;
} {
  let connections: { readonly id: string; readonly client: HttpClient } | undefined;
  return {
    clientFor({ id }) {
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
    },
    close() {
      void connections?.client.close();
      connections = undefined;
    },
  };
}

/**
 * Creates a client of the API. After a failure, the next of several servers is asked.
 * @param readAccess called before each request, because the files that the kubeconfig names may have been
 * renewed
 */
export function createApiClient(
  readAccess: () => Promise<ApiAccess>,
  { userAgent, rights, meanwhile, onDate }: ApiClientOptions,
): ApiClient {
  const connections = createConnections(userAgent);

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
      answer = await connections.clientFor(access).send({
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
    const date = Date.parse(answer.header('date') ?? '');
    if (!Number.isNaN(date)) onDate?.(date);
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

    list(path, query, onItem, signal, fields) {
      const accept = fields === undefined ? {} : { accept: `${protobufType}, application/json` };
      const headers = { 'accept-encoding': 'gzip', ...accept };
      return ask({ path, query, headers }, signal, listLimits, (answer) => readItems(answer, onItem, fields));
    },

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

    close: connections.close,
  };
}

/** Only the certificate authority of the kubeconfig is trusted for its server. */
function identityOf({ id, tls }: ApiAccess): TlsIdentity {
  const { ca, ...rest } = tls;
  return { id, only: true, ...rest, ...(ca !== undefined && { ca: [ca] }) };
}
