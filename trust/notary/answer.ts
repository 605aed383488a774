import type { IncomingMessage, ServerResponse } from 'node:http';
import { countedStatus, endWith, networkPeer } from '../../base/connections/index.ts';
import type { PeerShares } from '../../base/connections/index.ts';
import type { KeyedQueue } from '../../base/queues/index.ts';
import { asPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Upload, UploadLimits, Uploads } from './upload.ts';
import { readChangefeed } from './changefeed.ts';
import type { Collections, Hold } from './collections.ts';
import type { HeldFiles } from './held-files.ts';
import type { ServiceMetrics } from './metrics.ts';
import { isRefusal, refusalBody, refuse, statusOf } from './refusal.ts';
import type { Refusal } from './refusal.ts';
import { routeOf } from './routes.ts';
import type { Route } from './routes.ts';
import type { TrustStore } from './store.ts';
import type { Access, Guard } from './tokens.ts';
import { readUploads, releaseUploads } from './upload.ts';

export interface AnswerContext {
  readonly collections: Collections;
  readonly store: TrustStore;
  readonly metrics: ServiceMetrics;
  /** Undefined: every client may do everything. */
  readonly guard: Guard | undefined;
  readonly prefixes: readonly string[];
  readonly limits: Omit<UploadLimits, 'memory'>;
  /** For uploads that are being received, in bytes; and for stored files. */
  readonly memory: { readonly uploads: PeerShares; readonly files: HeldFiles };
  /** Long reads of the store: one at a time for each address. */
  readonly longReads: KeyedQueue;
  readonly onFailure: ((error: PortcullisError) => void) | undefined;
}

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body: Buffer | string;
}

const jsonType = 'application/json; charset=utf-8';
/** The type that Go's server reports for bytes that look like text. Notary's clients ignore it. */
const textType = 'text/plain; charset=utf-8';

/**
 * Returns how long a file may be cached, as utils/http.go and cmd/notary-server/config.go of Notary 0.7.0: a
 * file that may change for five minutes, and any other file for a month. A file that may change is not cached
 * after the expiry of the timestamp or of the snapshot: clients would refuse the collection.
 * @param freshMs until then; undefined for a file that does not change
 * @param isOpen whether each client may read the file. A shared cache gives a public answer also to clients
 * without a token (RFC 9111, section 3.5)
 */
function cacheControl(freshMs: number | undefined, isOpen: boolean): string {
  const mayChange = freshMs !== undefined;
  const age = mayChange ? Math.max(0, Math.min(300, Math.floor(freshMs / 1000))) : 2_592_000;
  const scope = isOpen ? `public, max-age=${age}, s-maxage=${age}` : `private, max-age=${age}`;
  return mayChange ? `${scope}, must-revalidate` : scope;
}

/**
 * Answers one request. Never rejects and never throws: a request that cannot be answered ends its connection
 * and is reported through `onFailure`.
 */
export async function answerRequest(
  context: AnswerContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const started = performance.now();
  const { method = 'GET', url = '/' } = request;
  // It is not a failure when a client disconnects while it is being answered.
  response.on('error', () => undefined);
  let operation: Route['operation'] = 'NotFound';
  let status = 500;
  try {
    const end = url.indexOf('?');
    const route = routeOf(method, end === -1 ? url : url.slice(0, end));
    operation = route.operation;
    const answer = await answerOrFailure(
      context,
      route,
      new URLSearchParams(end === -1 ? '' : url.slice(end + 1)),
      request,
      response,
    );
    status = countedStatus(response, answer.status);
    send(request, response, answer);
  } catch (thrown) {
    report(context, thrown, request);
    status = 500;
    sendFailure(request, response);
  }
  try {
    context.metrics.observe(operation, method, status, (performance.now() - started) / 1000);
  } catch (thrown) {
    report(context, thrown, request);
  }
}

async function answerOrFailure(
  context: AnswerContext,
  route: Route,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Answer> {
  try {
    const refusal = await refusedAccess(context, route, request);
    return refusal ?? (await answerTo(context, route, query, request, response));
  } catch (thrown) {
    report(context, thrown, request);
    // server/handlers/default.go of Notary 0.7.0: an update that the storage does not accept.
    return refused(refuse(route.operation === 'UpdateTUF' ? 'UPDATING' : 'UNKNOWN'));
  }
}

/**
 * Sends an answer.
 * @throws TypeError for a header that cannot be sent
 */
function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, headers: own, body }: Answer,
): void {
  const headers = { ...own, 'Content-Length': Buffer.byteLength(body) };
  // The rest of a refused upload is not read.
  const rest = request.complete || request.method === 'GET' ? headers : { ...headers, Connection: 'close' };
  response.writeHead(status, rest);
  endWith(response, body);
}

/**
 * The last resort: sends a status without any external input, or ends the connection when a head was already
 * sent.
 */
function sendFailure(request: IncomingMessage, response: ServerResponse): void {
  try {
    if (response.headersSent) response.destroy();
    else send(request, response, refused(refuse('UNKNOWN')));
  } catch {
    response.destroy();
  }
}

function report(
  { onFailure }: AnswerContext,
  thrown: unknown,
  { method = '', url = '' }: IncomingMessage,
): void {
  try {
    onFailure?.(failureOf(thrown, `${method} ${url.slice(0, 256).replace(/[^\x20-\x7e]/gu, '?')}`));
  } catch {
    // A fault in the failure handler must not become the next failure.
  }
}

/** Returns 401 with a challenge, or INVALID_GUN (404 for a read request). */
async function refusedAccess(
  { guard, prefixes }: AnswerContext,
  route: Route,
  request: IncomingMessage,
): Promise<Answer | undefined> {
  const gun = 'gun' in route ? route.gun : undefined;
  if (gun !== undefined && prefixes.length > 0 && !prefixes.some((prefix) => gun.startsWith(prefix))) {
    const unknown = route.operation !== 'UpdateTUF';
    return refused(
      unknown
        ? refuse('METADATA_NOT_FOUND')
        : refuse('INVALID_GUN', `Require GUNs with prefix: [${prefixes.join(' ')}]`),
    );
  }
  const access = accessOf(route);
  if (guard === undefined || access === undefined) return undefined;
  const challenge = await guard(request.headers.authorization, access);
  if (challenge === undefined) return undefined;
  const detail = access.actions.map((action) => ({
    Type: access.type,
    Class: '',
    Name: access.name,
    Action: action,
  }));
  const answer = refused(refuse('UNAUTHORIZED', detail));
  return { ...answer, headers: { ...answer.headers, 'WWW-Authenticate': challenge } };
}

/** Operations that are answered without a token: they disclose nothing about a collection. */
const openOperations: readonly Route['operation'][] = ['Health', 'Metrics', 'NotAllowed', 'BadName'];

/**
 * Notary's scopes (server/server.go, utils/http.go): a request that names no collection belongs to the
 * registry's catalog.
 */
function accessOf(route: Route): Access | undefined {
  if (openOperations.includes(route.operation)) return undefined;
  const gun = 'gun' in route ? route.gun : undefined;
  if (gun === undefined) return { type: 'registry', name: 'catalog', actions: ['*'] };
  return { type: 'repository', name: gun, actions: actionsOf(route.operation) };
}

function actionsOf(operation: Route['operation']): readonly string[] {
  if (operation === 'UpdateTUF' || operation === 'GetKey') return ['push', 'pull'];
  return operation === 'RotateKey' || operation === 'DeleteTUF' ? ['*'] : ['pull'];
}

async function answerTo(
  context: AnswerContext,
  route: Route,
  query: URLSearchParams,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Answer> {
  const { collections, store, metrics, memory, longReads } = context;
  switch (route.operation) {
    case 'Ping':
      return text('{}');
    case 'Health': {
      // An unhealthy component is reported by name, as in notary-server (cmd/notary-server/config.go of 0.7.0
      // uses this name for its storage).
      const flaw = await store.flaw();
      return flaw === undefined
        ? ok(jsonType, '{}')
        : { ...ok(jsonType, JSON.stringify({ 'DB operational': flaw })), status: 503 };
    }
    case 'Metrics': {
      const { type, body } = await metrics.render();
      return ok(type, body);
    }
    case 'NotFound':
      return refused(refuse('METADATA_NOT_FOUND'));
    case 'NotAllowed':
      return { status: 405, headers: {}, body: '' };
    case 'BadName':
      return refused(refuse(route.refused, route.why));
    case 'Changefeed': {
      const peer = networkPeer(request.socket.remoteAddress);
      const changes = await longReads.run(peer, async () =>
        // The client may have left while the request waited.
        response.closed ? refuse('UNAVAILABLE') : readChangefeed(store, route.gun, query),
      );
      if (isRefusal(changes)) return refused(changes);
      return memory.files.reserve(response, changes.body.length)
        ? text(changes.body)
        : refused(refuse('UNAVAILABLE'));
    }
    case 'GetKey':
      await bringFiles(context, route.gun, response);
      return text(JSON.stringify(await collections.publicKey(route.gun, route.dialect, route.role)));
    case 'RotateKey':
      await bringFiles(context, route.gun, response);
      return text(JSON.stringify(await collections.rotateKey(route.gun, route.dialect, route.role)));
    case 'DeleteTUF':
      await collections.remove(route.gun);
      return { status: 200, headers: {}, body: '' };
    case 'UpdateTUF':
      return publish(context, route.dialect, route.gun, request, response);
    default:
      return fileAnswer(context, route, response);
  }
}

async function fileAnswer(
  { collections, guard, memory, longReads }: AnswerContext,
  route: Extract<Route, { readonly which: unknown }>,
  response: ServerResponse,
): Promise<Answer> {
  const { gun, dialect, role, which } = route;
  const read = (): ReturnType<Collections['read']> =>
    collections.read(gun, dialect, role, which, holdFor(memory.files, response));
  // A search for an earlier version takes long if the collection has many, and so does a read of the current
  // files if they are large.
  const file = await (which === 'current' && collections.isInMemory(gun, dialect)
    ? read()
    : longReads.run(networkPeer(response.req.socket.remoteAddress), async () =>
        response.closed ? undefined : read(),
      ));
  if (file === undefined) return refused(refuse('METADATA_NOT_FOUND', {}));
  if (isRefusal(file)) return refused(file);
  const headers = {
    'Cache-Control': cacheControl(file.freshMs, guard === undefined),
    // Go's RFC 1123 format ends in the name of the zone.
    'Last-Modified': new Date(file.at).toUTCString().replace(/GMT$/u, 'UTC'),
    'Content-Type': route.dialect === 'notary' ? textType : 'application/json',
  };
  return { status: 200, headers, body: file.bytes };
}

const holdFor = (files: HeldFiles, response: ServerResponse): Hold => ({
  reserve: (bytes) => files.reserve(response, bytes),
  share: (file) => files.share(response, file),
});

/** Reads the files of a collection into memory: one collection at a time for each address. */
async function bringFiles(
  { collections, longReads }: AnswerContext,
  gun: string,
  response: ServerResponse,
): Promise<void> {
  for (const dialect of ['notary', 'tuf'] as const)
    if (!collections.isInMemory(gun, dialect))
      await longReads.run(networkPeer(response.req.socket.remoteAddress), async () =>
        response.closed ? undefined : collections.bring(gun, dialect),
      );
}

async function publish(
  context: AnswerContext,
  dialect: 'notary' | 'tuf',
  gun: string,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Answer> {
  const { limits: sizes, memory } = context;
  const limits = { ...sizes, memory: memory.uploads.of(networkPeer(request.socket.remoteAddress)) };
  const uploads = await readUploads(request, limits);
  if (isRefusal(uploads)) return refused(uploads);
  try {
    await bringFiles(context, gun, response);
    return await publishUploads(context, dialect, gun, uploads, response);
  } finally {
    releaseUploads(uploads, limits);
  }
}

async function publishUploads(
  { collections, memory }: AnswerContext,
  dialect: 'notary' | 'tuf',
  gun: string,
  uploads: Uploads,
  response: ServerResponse,
): Promise<Answer> {
  const files = (field: (name: string) => boolean): Upload[] => uploads.filter((one) => field(one.field));
  const notary = files((field) => field === 'notary');
  const posted =
    dialect === 'notary'
      ? { notary: uploads }
      : { tuf: files((field) => field !== 'notary'), ...(notary.length === 0 ? {} : { notary }) };
  const refusal = await collections.publish(gun, posted, holdFor(memory.files, response));
  return refusal === undefined ? { status: 200, headers: {}, body: '' } : refused(refusal);
}

const ok = (type: string, body: string): Answer => ({ status: 200, headers: { 'Content-Type': type }, body });

const text = (body: string): Answer => ok(textType, body);

const refused = (refusal: Refusal): Answer => ({
  status: statusOf(refusal),
  headers: { 'Content-Type': jsonType },
  body: refusalBody(refusal),
});

const failureOf = (thrown: unknown, on: string): PortcullisError =>
  asPortcullisError(thrown, {
    code: 'TRUST_SERVICE_FAILED',
    kind: 'internal',
    attempted: 'answer',
    on,
    fix: 'read the reason; report it if your setup does not cause it',
  });
