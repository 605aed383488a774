import type { Authorisation, Grant } from './authorisation.ts';
import { errorWords } from './body.ts';
import { statusFailure } from './failure.ts';
import type { Task } from './failure.ts';
import type { HttpAnswer, RequestBody } from '../http/index.ts';
import type { HttpRequest, Transport } from './transport.ts';
import { networkFailure } from './network-failure.ts';
import type { Credentials } from './types.ts';

/** Sends requests to one repository at one endpoint, with authorisation. */
export interface Session {
  readonly host: string;
  readonly repository: string;
  /**
   * `path` follows `/v2/<repository>/`. It can be a complete URL, which gets credentials only if it has
   * exactly this origin.
   */
  request(input: SessionRequest): Promise<HttpAnswer>;
  /** Returns the coded failure for an unexpected answer. */
  unexpected(answer: HttpAnswer, task: Task): Promise<never>;
}

export interface SessionRequest {
  readonly method: HttpRequest['method'];
  readonly path: string | URL;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: RequestBody;
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole request. Default: the time for a document. */
  readonly totalMs?: number;
  /** A request to a busy server is not retried. */
  readonly once?: boolean;
  readonly task: Task;
}

/**
 * A transfer that is slower than this on average is ended, even if a few bytes keep arriving: 16 KiB a
 * second.
 */
const leastBytesPerMs = 16.384;

/** Returns the milliseconds that content of a size may take. */
export function transferMs(bytes: number): number {
  return 600_000 + bytes / leastBytesPerMs;
}

export function createSession(
  place: {
    readonly origin: string;
    readonly host: string;
    readonly repository: string;
    readonly credentials: Credentials | undefined;
    /**
     * The registry of the image's name, if this is a mirror of several registries: reading requests name it,
     * as those of containerd do (docs/hosts.md; distribution-spec, pull request 66).
     */
    readonly mirrorOf?: string | undefined;
  },
  transport: Transport,
  authorisation: Authorisation,
  documentMs: number,
): Session {
  const { origin, host, repository, credentials, mirrorOf } = place;
  /** The Authorization header of the request that was answered. */
  const sent = new WeakMap<HttpAnswer, string>();

  async function request(input: SessionRequest): Promise<HttpAnswer> {
    const { method, path, headers = {}, body, signal, totalMs = documentMs, once = false, task } = input;
    const url = path instanceof URL ? path : new URL(`/v2/${repository}/${path}`, origin);
    const writes = method !== 'GET' && method !== 'HEAD';
    if (mirrorOf !== undefined && !writes && !(path instanceof URL)) url.searchParams.set('ns', mirrorOf);
    const grant: Grant = { origin, repository, actions: writes ? 'pull,push' : 'pull', credentials };
    const mine = url.origin === origin;
    const send = async (authorization: string | undefined): Promise<HttpAnswer> => {
      const answer = await transport.send({
        method,
        url,
        headers: authorization === undefined || !mine ? headers : { ...headers, authorization },
        ...(body === undefined ? {} : { body }),
        signal,
        totalMs,
        once,
        // The URL of an upload or of a next page is named by the registry.
        ...(path instanceof URL ? { ledBy: new URL(origin) } : {}),
        task,
      });
      if (authorization !== undefined) sent.set(answer, authorization);
      return answer;
    };
    const used = authorisation.known(grant);
    const first = await send(used);
    // Only the registry itself may ask for credentials, not the target of its redirect.
    if (first.status !== 401 || !mine || first.url.origin !== origin) return first;
    const header = await authorisation.answer(grant, first, task, used, signal).catch((thrown: unknown) => {
      throw networkFailure(thrown, first.url, task, signal);
    });
    const second = await send(header);
    if (second.status === 401) authorisation.forget(grant);
    return second;
  }

  async function unexpected(answer: HttpAnswer, task: Task): Promise<never> {
    const words = await errorWords(answer, credentials, sent.get(answer));
    await answer.discard();
    throw statusFailure(answer, task, answer.url.host, words);
  }

  return { host, repository, request, unexpected };
}
