import type { IncomingMessage, ServerResponse } from 'node:http';
import { answerOrEnd, networkPeer, readBody } from '../../base/connections/index.ts';
import type { BodyLimits, PeerShares } from '../../base/connections/index.ts';
import { PortcullisError } from '../../base/errors/index.ts';
import type { ImageDecisions } from '../decisions/image-decisions.ts';
import type { PolicyInForce } from '../policy/policy-in-force.ts';
import { reviewResponse } from '../reviews/response.ts';
import type { ReviewAnswer } from '../reviews/response.ts';
import { decideReview } from './decide-review.ts';
import type { ReviewMode } from './examine-review.ts';
import type { Examiner } from './examiner.ts';
import type { Outcome, WebhookCounts } from './metrics.ts';

/** The parts of the webhook that an answer needs. */
export interface RequestContext {
  readonly policy: PolicyInForce;
  readonly decisions: ImageDecisions;
  readonly allowUnread: boolean;
  readonly counts: WebhookCounts;
  readonly body: Omit<BodyLimits, 'memory'>;
  /** Bytes of the bodies of all reviews in progress. */
  readonly bodies: PeerShares;
  /** Bytes of the bodies of one party's reviews that may wait for their answers. */
  readonly held: { readonly bytes: Map<string, number>; readonly mostOfParty: number };
  /** Reviews that are being answered. Any host that reaches the port may send reviews. */
  readonly reviews: PeerShares;
  readonly examiner: Examiner;
  /** Why the replica must not get requests; undefined: it is ready. */
  readonly notReady: () => string | undefined;
  readonly onFailure: (error: unknown) => void;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const modes: ReadonlyMap<string, ReviewMode> = new Map([
  ['/validate', 'validate'],
  ['/mutate', 'mutate'],
]);

/** Answers one request. Never rejects: a failure ends the request and is reported. */
export function answerRequest(
  context: RequestContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  return answerOrEnd(request, response, async () => {
    const { status, type, body } = await answerOf(context, request).catch((thrown: unknown) => {
      context.onFailure(thrown);
      return text(500, 'the request could not be answered; see the log of the webhook');
    });
    return { status, headers: { 'Content-Type': type }, body };
  });
}

const text = (status: number, body: string): Answer => ({
  status,
  type: 'text/plain; charset=utf-8',
  body: `${body}\n`,
});

async function answerOf(context: RequestContext, request: IncomingMessage): Promise<Answer> {
  const { method = 'GET', url = '/' } = request;
  const end = url.indexOf('?');
  const path = end === -1 ? url : url.slice(0, end);
  const mode = modes.get(path);
  if (mode !== undefined) {
    if (method !== 'POST') return text(405, 'this path accepts only POST');
    const query = new URLSearchParams(end === -1 ? '' : url.slice(end + 1));
    return answerReview(context, request, { path, mode, deadlineMs: deadlineOf(query.get('timeout')) });
  }
  if (method !== 'GET' && method !== 'HEAD') return text(405, 'this path accepts only GET and HEAD');
  if (path === '/healthz') return text(200, 'ok');
  if (path === '/readyz') {
    const why = context.notReady();
    return why === undefined ? text(200, 'ok') : text(503, why);
  }
  if (path === '/metrics') {
    const { type, body } = await context.counts.render();
    return { status: 200, type, body };
  }
  return text(404, 'this path does not exist; use /validate, /mutate, /healthz, /readyz or /metrics');
}

/** The default and the maximum of `timeoutSeconds` (admissionregistration.k8s.io/v1). */
const [usualTimeout, longestTimeout] = [10, 30];
/**
 * A call is answered after at most this part of its time limit, because the answer also has to arrive in
 * time.
 */
const share = 0.8;

/**
 * Returns after how many ms a review must be answered. The API server sends the time limit of its call as
 * `?timeout=10s`.
 */
export function deadlineOf(timeout: string | null): number {
  const [, minutes = '0', seconds = ''] =
    /^(?:(\d{1,2})m)?(\d{1,4}(?:\.\d{1,9})?)s$/.exec(timeout ?? '') ?? [];
  const given = seconds === '' ? usualTimeout : Number(minutes) * 60 + Number(seconds);
  return Math.min(Math.max(given, 0.5), longestTimeout) * share * 1000;
}

interface ReviewCall {
  readonly path: string;
  readonly mode: ReviewMode;
  readonly deadlineMs: number;
}

async function answerReview(
  context: RequestContext,
  request: IncomingMessage,
  { path, mode, deadlineMs }: ReviewCall,
): Promise<Answer> {
  const { counts } = context;
  const peer = networkPeer(request.socket.remoteAddress);
  const reviews = context.reviews.of(peer);
  if (reviews.free < 1) return busy(context, path);
  const begun = performance.now();
  counts.begun();
  let outcome: Outcome = 'invalid';
  // The parts of a review that are kept until its answer are not larger than the body, whose place is kept.
  let release = (): void => undefined;
  reviews.free -= 1;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(lateError(deadlineMs)), deadlineMs);
  try {
    const [type] = (request.headers['content-type'] ?? '').split(';');
    if (type?.trim().toLowerCase() !== 'application/json')
      return text(415, 'the content type is not application/json');
    const body = await readBody(request, { ...context.body, memory: context.bodies.of(peer) });
    if ('status' in body) {
      if (body.status === 503) outcome = 'busy';
      return text(body.status, body.why);
    }
    const { allowUnread } = context;
    const isLate = (): boolean => late.signal.aborted || request.socket.destroyed;
    const examining = context.examiner.examine(body.bytes, { mode, allowUnread }, peer, isLate);
    // A body that waits for its turn, or is being examined, keeps its place when its review is answered.
    release = () => void examining.then(body.release, body.release);
    const read = await Promise.race([examining, abortOf(late.signal)]);
    if (read === undefined) {
      outcome = 'busy';
      return text(503, 'the time limit of the API server passed before the review was examined');
    }
    if ('malformed' in read)
      return read.uid === undefined
        ? text(400, `the review is malformed: ${read.malformed}`)
        : json(read.uid, malformed(read.malformed));
    const { uid, examined } = read;
    if ('refusal' in examined) return json(uid, examined.refusal);
    const { party, namespace } = examined;
    const free = hold(context.held, [party, `namespace ${namespace}`], body.bytes.length);
    if (free === undefined) {
      outcome = 'busy';
      return json(uid, {
        allowed: false,
        status: {
          code: 429,
          reason: 'TooManyRequests',
          message: `reviews with more than ${context.held.mostOfParty} bytes of one user or namespace are in progress`,
        },
      });
    }
    release = (): void => {
      free();
      body.release();
    };
    const answer = await decideReview(examined, {
      policy: context.policy,
      decisions: context.decisions,
      signal: late.signal,
      onDecision: counts.decided,
    });
    outcome = outcomeOf(answer);
    return json(uid, answer);
  } finally {
    clearTimeout(timer);
    release();
    reviews.free += 1;
    counts.answered(path, outcome, (performance.now() - begun) / 1000);
  }
}

function abortOf(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(undefined), { once: true });
    if (signal.aborted) resolve(undefined);
  });
}

function busy({ counts }: RequestContext, path: string): Answer {
  counts.begun();
  counts.answered(path, 'busy', 0);
  return text(429, 'too many reviews of this address are in progress');
}

/** Returns a function that releases the place; undefined: a party has no free place. */
function hold(
  { bytes, mostOfParty }: RequestContext['held'],
  named: readonly string[],
  size: number,
): (() => void) | undefined {
  const parties = [...new Set(named)];
  if (parties.some((party) => (bytes.get(party) ?? 0) + size > mostOfParty)) return undefined;
  const add = (by: number): void => {
    for (const party of parties) {
      const now = (bytes.get(party) ?? 0) + by;
      if (now === 0) bytes.delete(party);
      else bytes.set(party, now);
    }
  };
  add(size);
  return () => add(-size);
}

const json = (uid: string, answer: ReviewAnswer): Answer => ({
  status: 200,
  type: 'application/json',
  body: reviewResponse(uid, answer),
});

const malformed = (why: string): ReviewAnswer => ({
  allowed: false,
  status: { code: 400, reason: 'BadRequest', message: `the review is malformed: ${why}` },
});

function outcomeOf({ allowed, status }: ReviewAnswer): Outcome {
  if (allowed) return 'allowed';
  return status?.code === 403 ? 'denied' : status?.code === 503 ? 'undecided' : 'invalid';
}

function lateError(ms: number): PortcullisError {
  return new PortcullisError({
    code: 'ADMISSION_LATE',
    kind: 'deadline',
    attempted: 'decide',
    on: '',
    why: `there was no decision within ${ms / 1000} s, the time limit of the API server`,
    fix: 'try again, and check that the webhook can reach the registry',
  });
}
