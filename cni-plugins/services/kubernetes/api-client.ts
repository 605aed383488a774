import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { parseJson } from '../../../base/json/index.ts';
import { PortcullisError, isPortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { createHttpClient, isHttpError } from '../../../base/http/index.ts';
import type { HttpAnswer, HttpClient, TlsIdentity } from '../../../base/http/index.ts';
import type { ApiAccess } from './kubeconfig.ts';

/** The Kubernetes API over HTTP/1.1: one answer, or a stream of events. */
export interface ApiClient {
  /**
   * @throws NETWORK_API_UNREACHABLE · NETWORK_API_REFUSED (with `status`, and `retryAfterSeconds` if the
   * server sent it) · the errors of reading the access
   */
  get(path: string, query: Query, signal: AbortSignal): Promise<unknown>;
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

interface Opened {
  readonly answer: HttpAnswer;
  readonly host: string;
}

/** When a stream is considered dead, in milliseconds. */
export interface WatchLimits {
  readonly silence: number;
  readonly whole: number;
}

/** etcd stores objects of at most 1.5 MiB, and a page has 500 of them. Few objects come near the limit. */
const answerBytes = 256 * 1024 * 1024;
const eventBytes = 16 * 1024 * 1024;
const answerMs = 60_000;
const headersMs = 15_000;
/**
 * The kernel begins to probe a silent connection after this long. After ten probes, one second apart, the
 * connection is dead.
 */
const probeAfterMs = 10_000;

/**
 * @param readAccess called before each request, because the files that the kubeconfig names may have been
 * renewed
 */
export function createApiClient(readAccess: () => Promise<ApiAccess>, userAgent: string): ApiClient {
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

  /** Resolves with the head of a successful answer. The caller reads the body. */
  async function open(
    path: string,
    query: Query,
    accept: Readonly<Record<string, string>>,
    limits: { readonly totalMs: number; readonly silenceMs?: number },
    signal: AbortSignal,
  ): Promise<Opened> {
    const access = await readAccess();
    const { server, authorization } = access;
    const url = new URL(
      `${server.origin}${server.pathname.replace(/\/+$/u, '')}${path}?${new URLSearchParams(query).toString()}`,
    );
    const headers = {
      accept: 'application/json',
      ...accept,
      ...(authorization !== undefined && { authorization }),
    };
    const tls = (): Promise<TlsIdentity> => Promise.resolve(identityOf(access));
    let answer: HttpAnswer;
    try {
      answer = await clientFor(access).send({ url, headers, tls, signal, ...limits });
    } catch (thrown) {
      throw unreachable(server.host, path, thrown);
    }
    if (answer.status === 200) return { answer, host: server.host };
    throw await refusal(server.host, path, answer);
  }

  return {
    async get(path, query, signal) {
      const { answer, host } = await open(
        path,
        query,
        { 'accept-encoding': 'gzip' },
        { totalMs: answerMs },
        signal,
      );
      try {
        return parseJson(await textOf(answer, answerBytes));
      } catch (thrown) {
        if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
        throw unreachable(host, path, thrown);
      } finally {
        answer.destroy();
      }
    },

    async watch(path, query, limits, onOpen, onEvent, signal) {
      const begun = performance.now();
      // A little later than our own timers, whose reasons are more specific.
      const bounds = { totalMs: limits.whole + 5_000 };
      const { answer, host } = await open(path, { ...query, watch: 'true' }, {}, bounds, signal);
      onOpen();
      let given: Error | undefined;
      const give = (why: string): void => {
        given = new Error(why);
        answer.destroy(given);
      };
      const whole = setTimeout(
        give,
        Math.max(0, limits.whole - (performance.now() - begun)),
        'the stream did not end when it should have',
      );
      const silent = setTimeout(give, limits.silence, `nothing came for ${limits.silence / 1000} s`);
      try {
        for await (const line of linesOf(answer.chunks(Infinity))) {
          silent.refresh();
          onEvent(parseJson(line));
        }
      } catch (thrown) {
        if (isPortcullisError(thrown) && !isHttpError(thrown)) throw thrown;
        throw unreachable(host, path, given ?? thrown);
      } finally {
        clearTimeout(whole);
        clearTimeout(silent);
        answer.destroy();
      }
    },

    close() {
      void connections?.client.close();
      connections = undefined;
    },
  };
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

async function textOf(answer: HttpAnswer, mostBytes: number): Promise<string> {
  if (answer.header('content-encoding') !== 'gzip') return (await answer.bytes(mostBytes)).toString('utf8');
  const sent = Readable.from(answer.chunks(mostBytes));
  const body = createGunzip();
  sent.once('error', (error) => body.destroy(error)).pipe(body);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
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
async function refusal(host: string, path: string, answer: HttpAnswer): Promise<PortcullisError> {
  const { status } = answer;
  const text = await textOf(answer, 64 * 1024).catch(() => '');
  answer.destroy();
  let said = '';
  try {
    const { message } = parseJson(text) as { message?: unknown };
    if (typeof message === 'string') said = message.slice(0, 500);
  } catch {
    // The answer does not come from the API server itself.
  }
  const seconds = Number(answer.header('retry-after') ?? NaN);
  return refused(host, path, status, said, Number.isFinite(seconds) ? seconds : undefined);
}

const fixes: Readonly<Record<number, string>> = {
  401: 'renew the credentials that the kubeconfig names',
  403: 'let the user of the kubeconfig list and watch services and endpointslices.discovery.k8s.io (ClusterRole system:node-proxier does)',
};

/** Also used for a stream event that says why the stream ends. */
export function refused(
  on: string,
  path: string,
  status: number,
  said: string,
  retryAfterSeconds?: number,
): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_API_REFUSED',
    kind: status === 401 || status === 403 ? 'denied' : 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: `it answered ${status}${said === '' ? '' : `: ${said}`}`,
    fix: fixes[status] ?? 'it is asked again; look at the API server if this goes on',
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

function unreachable(on: string, path: string, thrown: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_API_UNREACHABLE',
    kind: 'unavailable',
    attempted: `ask the API server for ${path}`,
    on,
    why: reasonOf(thrown),
    fix: 'check that the API server runs and can be reached; it is asked again, and meanwhile services stay as they are',
    cause: thrown,
  });
}
