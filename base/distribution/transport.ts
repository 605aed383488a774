import { setTimeout as sleep } from 'node:timers/promises';
import type { Readable } from 'node:stream';
import { Agent } from 'undici';
import { reasonOf } from '../errors/index.ts';
import type { Certificates, HostCertificates } from './certificates.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { HostRules } from './hosts.ts';
import { isLoopback } from './hosts.ts';
import { networkFailure } from './network-failure.ts';
import type { RegistryClientOptions } from './types.ts';

const redirectLimit = 5;
const headerBytes = 32 * 1024;

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal?: AbortSignal | undefined;
  readonly task: Task;
}

export interface HttpAnswer {
  readonly status: number;
  /** The first of a repeated header. */
  header(name: string): string | undefined;
  /** `dump` reads what is left, up to a limit, and lets go of the connection. */
  readonly body: Readable & { dump(options: { readonly limit: number }): Promise<void> };
  /** Where the answer came from, after redirects. */
  readonly url: URL;
}

/** HTTP with connections kept, redirects by rule, and patience with busy servers. */
export interface Transport {
  /** Follows redirects of GET and HEAD; Authorization never leaves the origin (scheme, host and port) it was given for. */
  send(request: HttpRequest): Promise<HttpAnswer>;
  close(): Promise<void>;
}

export function createTransport(options: RegistryClientOptions, rules: HostRules, certificates: Certificates): Transport {
  const { connect = 5_000, headers: headersTimeout = 30_000, idle = 30_000 } = options.timeouts ?? {};
  const { attempts = 3, maxDelayMs = 10_000 } = options.retry ?? {};
  const userAgent = options.userAgent ?? 'portcullis';
  const newAgent = (tls: HostCertificates['connect'] = {}): Agent =>
    new Agent({
      connect: { timeout: connect, ...tls },
      headersTimeout,
      bodyTimeout: idle,
      keepAliveTimeout: 15_000,
      maxHeaderSize: headerBytes,
      connections: 64,
      allowH2: false,
    });
  const common = newAgent();
  /** By host: those with certificates of their own never share a connection with others. */
  const own = new Map<string, { readonly id: string; readonly agent: Agent }>();
  async function agentFor({ protocol, host }: URL): Promise<Agent> {
    const wanted = protocol === 'https:' ? await certificates.of(host) : undefined;
    const kept = own.get(host);
    if (kept?.id === wanted?.id) return kept?.agent ?? common;
    own.delete(host);
    // Renewed: what is under way on the old connections ends there.
    void kept?.agent.close().catch(() => undefined);
    if (wanted === undefined) return common;
    const agent = newAgent(wanted.connect);
    own.set(host, { id: wanted.id, agent });
    return agent;
  }

  async function exchange({ url, method, headers, body, signal, task }: HttpRequest): Promise<HttpAnswer> {
    const agent = await agentFor(url);
    const once = async (): Promise<HttpAnswer> => {
      const answer = await agent.request({
        origin: url.origin,
        path: `${url.pathname}${url.search}`,
        method,
        headers: { 'user-agent': userAgent, ...headers },
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { signal }),
        // undici would end the connection after each HEAD, and pay a TLS handshake for the next request.
        reset: false,
      });
      // A body that is given up emits an error to nobody, which would end the process; whoever reads the body gets it all the same.
      answer.body.on('error', () => undefined);
      const header = (name: string): string | undefined => {
        const value = answer.headers[name];
        return Array.isArray(value) ? value[0] : value;
      };
      return { status: answer.statusCode, header, body: answer.body, url };
    };
    try {
      return await once();
    } catch (error) {
      // A kept connection that the server closed meanwhile; asking anew is safe for these two.
      if ((method === 'GET' || method === 'HEAD') && isBrokenConnection(error) && signal?.aborted !== true) {
        return await once().catch((second: unknown) => Promise.reject(networkFailure(second, url, task, signal)));
      }
      throw networkFailure(error, url, task, signal);
    }
  }

  async function patient(request: HttpRequest): Promise<HttpAnswer> {
    for (let attempt = 1; ; attempt++) {
      const answer = await exchange(request);
      if ((answer.status !== 429 && answer.status !== 503) || attempt >= attempts) return answer;
      const delay = retryDelay(answer.header('retry-after'), attempt);
      // A registry that asks for more is left to the caller's own patience.
      if (delay > maxDelayMs) return answer;
      await discard(answer);
      await sleep(delay, undefined, { signal: request.signal }).catch((error: unknown) => {
        throw networkFailure(error, request.url, request.task, request.signal);
      });
    }
  }

  async function send(request: HttpRequest): Promise<HttpAnswer> {
    let { url, headers } = request;
    for (let hop = 0; ; hop++) {
      if (!rules.mayAsk(url)) {
        throw distributionError('DISTRIBUTION_UNREACHABLE', request.task, `${url.host} would have to be asked in plain HTTP`, {
          fix: 'serve it over https, or name it as an insecure registry',
        });
      }
      const answer = await patient({ ...request, url, headers });
      const follows = [301, 302, 303, 307, 308].includes(answer.status) && (request.method === 'GET' || request.method === 'HEAD');
      if (!follows) return answer;
      const next = redirectTarget(url, answer.header('location'), request.task);
      await discard(answer);
      if (hop >= redirectLimit) throw distributionError('DISTRIBUTION_BAD_REDIRECT', request.task, `more than ${redirectLimit} redirects`);
      if (next.origin !== url.origin) headers = withoutAuthorization(headers);
      url = next;
    }
  }

  return {
    send,
    close: async () => {
      await Promise.all([common, ...[...own.values()].map(({ agent }) => agent)].map((agent) => agent.destroy())).catch(
        (error: unknown) => {
          throw new Error(reasonOf(error), { cause: error });
        },
      );
    },
  };
}

/** Reads a small rest, so that the connection can be used again; ends it when there is more. */
export async function discard(answer: HttpAnswer): Promise<void> {
  await answer.body.dump({ limit: 64 * 1024 }).catch(() => undefined);
}

function redirectTarget(from: URL, location: string | undefined, task: Task): URL {
  const target = location === undefined ? null : URL.parse(location, from.href);
  const refuse = (why: string) => distributionError('DISTRIBUTION_BAD_REDIRECT', task, `${from.host} redirects ${why}`);
  if (target === null || !['http:', 'https:'].includes(target.protocol)) throw refuse('to no web address');
  if (from.protocol === 'https:' && target.protocol === 'http:') throw refuse(`from https to plain HTTP at ${target.host}`);
  // Else a registry could make the node ask its own private services.
  if (isLoopback(target.hostname) && !isLoopback(from.hostname)) throw refuse(`to a loopback address, ${target.host}`);
  target.username = '';
  target.password = '';
  return target;
}

function withoutAuthorization(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'authorization'));
}

function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'UND_ERR_SOCKET' || code === 'ECONNRESET' || code === 'EPIPE';
}

/** Milliseconds of Retry-After (RFC 9110, §10.2.3: seconds or a date), else a growing delay. */
function retryDelay(header: string | undefined, attempt: number): number {
  const guess = 200 * 2 ** attempt * (0.75 + Math.random() / 2);
  if (header === undefined) return guess;
  if (/^\d{1,9}$/.test(header.trim())) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? guess : Math.max(0, date - Date.now());
}
