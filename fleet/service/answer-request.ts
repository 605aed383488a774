import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerOrEnd, networkPeer, reserveForResponse } from '../../base/connections/index.ts';
import type { PeerShares } from '../../base/connections/index.ts';
import { asPortcullisError, errorToJson, isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import { answerApi } from '../api/answer-api.ts';
import type { Reader } from '../store/queries.ts';
import type { Identify } from './access.ts';
import { jsonAnswer } from './answer.ts';
import type { Answer } from './answer.ts';
import type { FleetCounts } from './metrics.ts';
import { receiveLogs, refuse } from './receive-logs.ts';
import type { ReceiveContext } from './receive-logs.ts';

/** The parts of the service that an answer needs. */
export interface RequestContext {
  /** Replaced when the tokens or the authorities change. */
  identify: Identify;
  readonly reader: Reader;
  /** The console, by path; undefined: there is none. */
  readonly pages: ReadonlyMap<string, Answer> | undefined;
  readonly counts: FleetCounts;
  readonly receive: ReceiveContext;
  /** The queries of readers: one at a time for each address. */
  readonly queries: KeyedQueue;
  /** Bytes for the answers to readers. */
  readonly responses: PeerShares;
  readonly clock: () => number;
  readonly onFailure: ((error: PortcullisError) => void) | undefined;
}

/** Answers one request. Never rejects: a failure ends the request and is reported. */
export function answerRequest(
  context: RequestContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = (): Promise<Answer> =>
    answerOf(context, request, response).catch((thrown: unknown) => failed(context, thrown));
  return answerOrEnd(request, response, answer, context.counts.answered);
}

/** Paths of OTLP signals that the aggregator does not accept. */
const otherSignals: readonly string[] = ['/v1/traces', '/v1/metrics', '/v1/profiles'];

async function answerOf(
  context: RequestContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Answer> {
  const { method = 'GET', url = '/' } = request;
  const end = url.indexOf('?');
  const path = end === -1 ? url : url.slice(0, end);
  const caller = context.identify(request);
  if (path === '/v1/logs' && method === 'POST') return receiveLogs(context.receive, caller, request);
  if (method === 'POST' && otherSignals.includes(path))
    return refuse(404, 'the aggregator accepts only log records, at /v1/logs', 'json');
  if (method !== 'GET' && method !== 'HEAD')
    return { ...problem(405, 'this path accepts only GET and HEAD'), headers: { Allow: 'GET, HEAD' } };
  if (path === '/healthz') return jsonAnswer(200, { healthy: true });
  const page = context.pages?.get(path);
  if (page !== undefined) return page;
  if (caller === undefined) return refuse(401, 'the request has no valid token or certificate', 'json');
  if (caller.role === 'node') return refuse(403, 'a node may not read', 'json');
  return context.queries.run(networkPeer(request.socket.remoteAddress), async () => {
    // The client may have left while the request waited.
    if (response.closed) return problem(503, 'the client has left');
    const query = new URLSearchParams(end === -1 ? '' : url.slice(end + 1));
    const answer = await answerReader(context, path, query);
    return reserveForResponse(context.responses, response, answer.body.length)
      ? answer
      : problem(503, 'the responses that the client has not read use its memory; read them, and try again');
  });
}

async function answerReader(context: RequestContext, path: string, query: URLSearchParams): Promise<Answer> {
  if (path === '/metrics') {
    const { type, body } = await context.counts.render();
    return { status: 200, headers: { 'Content-Type': type }, body };
  }
  const found = await answerApi(context.reader, path, query, context.clock());
  return found === undefined
    ? problem(404, 'this path, or the object that it names, does not exist; GET /v1 lists the API')
    : jsonAnswer(200, found);
}

const problem = (status: number, why: string): Answer => jsonAnswer(status, { error: { why } });

function failed({ onFailure }: RequestContext, thrown: unknown): Answer {
  if (isPortcullisError(thrown) && thrown.kind === 'invalid')
    return jsonAnswer(400, { error: errorToJson(thrown) });
  try {
    onFailure?.(
      asPortcullisError(thrown, {
        code: 'FLEET_FAILED',
        kind: 'internal',
        attempted: 'answer a request',
        on: '',
        fix: 'read the reason; report it if your setup does not cause it',
      }),
    );
  } catch {
    // An error in the failure handler must not cause another failure.
  }
  return problem(500, 'the request could not be answered; see the output of the aggregator');
}
