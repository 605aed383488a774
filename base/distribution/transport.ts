import { setTimeout as sleep } from 'node:timers/promises';
import { createHttpClient, retryAfterMs } from '../http/index.ts';
import type { HttpAnswer, RequestBody } from '../http/index.ts';
import type { Certificates } from './certificates.ts';
import { distributionError } from './failure.ts';
import type { Task } from './failure.ts';
import type { HostRules } from './hosts.ts';
import { networkFailure } from './network-failure.ts';
import { backOff, isPassingStatus } from './passing-failure.ts';
import type { RegistryClientOptions } from './types.ts';

const redirectLimit = 5;

export interface HttpRequest {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH';
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for one attempt, including its body. */
  readonly totalMs: number;
  /** The request is sent once: its content would be out of date, or the caller tries again itself. */
  readonly once?: boolean;
  /** The server that named the URL, if the URL does not come from the configuration or the reference. */
  readonly ledBy?: URL | undefined;
  readonly task: Task;
}

/**
 * Sends HTTP requests to registries and their token services: with the rules and certificates of hosts, and
 * with retries for busy servers.
 */
export interface Transport {
  /**
   * Follows redirects of GET and HEAD. Authorization never leaves the origin (scheme, host and port) it was
   * given for.
   */
  send(request: HttpRequest): Promise<HttpAnswer>;
  close(): Promise<void>;
}

export function createTransport(
  options: RegistryClientOptions,
  rules: HostRules,
  certificates: Certificates,
): Transport {
  const { attempts = 3, maxDelayMs = 10_000 } = options.retry ?? {};
  const client = createHttpClient({
    ...(options.timeouts === undefined ? {} : { timeouts: options.timeouts }),
    ...(options.userAgent === undefined ? {} : { userAgent: options.userAgent }),
    ...(options.connections === undefined ? {} : { connections: options.connections }),
    ...(options.receiveBytes === undefined ? {} : { receiveBytes: options.receiveBytes }),
  });

  async function exchange({ task, once: _once, ...request }: HttpRequest): Promise<HttpAnswer> {
    const check = (url: URL): void => {
      if (rules.mayAsk(url)) return;
      throw distributionError(
        'DISTRIBUTION_UNREACHABLE',
        task,
        `the request to ${url.host} would use plain HTTP`,
        {
          fix: 'serve it over https, or configure it as an insecure registry',
        },
      );
    };
    try {
      return await client.send({
        ...request,
        redirects: redirectLimit,
        check,
        tls: ({ host }) => certificates.of(host),
      });
    } catch (error) {
      throw networkFailure(error, request.url, task, request.signal);
    }
  }

  async function send(request: HttpRequest): Promise<HttpAnswer> {
    const writes = request.method !== 'GET' && request.method !== 'HEAD';
    const most = request.once === true ? 1 : attempts;
    for (let attempt = 1; ; attempt++) {
      const answer = await exchange(request);
      if (attempt >= most || !isPassingStatus(answer.status, writes)) return answer;
      const delay = retryAfterMs(answer.header('retry-after')) ?? backOff(attempt);
      // If a registry asks for a longer delay, the caller decides whether to wait.
      if (delay > maxDelayMs) return answer;
      await answer.discard();
      await sleep(delay, undefined, { signal: request.signal }).catch((error: unknown) => {
        throw networkFailure(error, request.url, request.task, request.signal);
      });
    }
  }

  return { send, close: () => client.close() };
}
