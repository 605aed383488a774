import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import {
  connectionsCheckingInterval,
  createConnectionSlots,
  createHttpServer,
} from '../../base/connections/index.ts';
import type { ConnectionPlace } from '../../base/connections/index.ts';
import { PortcullisError, asPortcullisError, errorToJson, reasonOf } from '../../base/errors/index.ts';
import type { ErrorKind } from '../../base/errors/index.ts';
import { parseJson } from '../../base/json/index.ts';
import { duplicateFd, peerCredentials } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { describeProblems, validate } from '../../base/schema/index.ts';
import { adminOperations, pathOf } from './operations.ts';
import { adminVersion } from './operation-types.ts';
import type { AdminCall, AdminOperation } from './operation-types.ts';

/**
 * Answers one request with an object, or with text that is JSON already. The signal is aborted when the
 * client closes its connection before it has the answer.
 */
export type AnswerAdmin = (call: AdminCall, signal: AbortSignal) => Promise<object | string>;

export interface AdminServer {
  /**
   * Accepts no new requests, and resolves when each request that was read is handled. It does not wait for
   * clients that still send or read. The owner of the listening socket must close it before this call.
   */
  close(): Promise<void>;
}

/** A command is a process of its own with one connection. */
const limits = { most: 64, mostOfPeer: 32 };
/** A client that does not finish its request is disconnected after this time, in ms. */
const requestMs = 10_000;
/** A client that does not read its response is disconnected after this time, in ms. */
const sendMs = 10_000;
/**
 * The longest request, in bytes. `portcullis service apply` splits requests that are longer than a quarter of
 * it.
 */
const mostBytes = 4 * 1024 * 1024;

/** HTTP status of a failure (RFC 9110, section 15). Clients should evaluate the code in the body. */
const statusOfKind: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  'not-found': 404,
  'already-exists': 409,
  denied: 403,
  undecided: 403,
  precondition: 409,
  unavailable: 503,
  exhausted: 429,
  deadline: 504,
  cancelled: 499,
  unimplemented: 501,
  'data-loss': 500,
  internal: 500,
};

/**
 * Serves the admin API (operations.ts): HTTP/1.1 over a unix socket, `POST /v1/OPERATION` with a JSON object
 * in each direction, and `GET /v1` for the description. A failure has the body `{"error": …}`. Only processes
 * of uid 0 are served, by the credentials of the connection, in addition to the socket's mode.
 * @param listener descriptor of the listening socket, which the caller keeps
 */
export function serveAdmin(listener: number, answer: AnswerAdmin, log: Pick<Logger, 'warn'>): AdminServer {
  const slots = createConnectionSlots(limits);
  const places = new WeakMap<Socket, ConnectionPlace>();
  const underWay = new Set<Promise<void>>();
  const arriving = new Set<IncomingMessage>();
  let closing = false;
  const server = createHttpServer(
    {
      maxHeaderSize: 8192,
      requestTimeout: requestMs,
      headersTimeout: requestMs,
      keepAliveTimeout: 5_000,
      connectionsCheckingInterval,
    },
    (request, response) => {
      const { socket } = request;
      if (closing) return void socket.destroy();
      const place = places.get(socket);
      arriving.add(request);
      const read = (): void => {
        arriving.delete(request);
        place?.busy();
      };
      const done = respond(request, response, answer, read)
        .catch((thrown: unknown) => {
          log.warn({ why: reasonOf(thrown) }, 'a request of the admin API could not be answered');
          response.destroy();
        })
        .finally(() => {
          socket.setTimeout(sendMs, () => socket.destroy());
          arriving.delete(request);
          place?.idle();
          underWay.delete(done);
        });
      underWay.add(done);
    },
  );
  // Pipelined requests would run all at once, and their answers would wait in memory.
  server.maxRequestsPerSocket = 1;
  server.on('dropRequest', (_: IncomingMessage, socket: Socket) => socket.destroy());
  const own = server.listeners('connection') as ((socket: Socket) => void)[];
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const pid = rootProcessOf(socket);
    const place = pid === undefined ? undefined : slots.admit(String(pid), () => socket.destroy());
    if (place === undefined) {
      log.warn(
        { pid },
        `a client of the admin socket was refused: ${pid === undefined ? 'it is not root, or has exited' : 'too many are connected'}`,
      );
      return void socket.destroy();
    }
    places.set(socket, place);
    socket.once('close', () => place.leave());
    for (const accept of own) accept.call(server, socket);
  });
  // Without a free descriptor (EMFILE) libuv closes the new connection and continues.
  server.on('error', (error) =>
    log.warn({ why: reasonOf(error) }, 'a client of the admin socket could not be accepted'),
  );
  // The server closes its descriptor when it is closed.
  server.listen({ fd: duplicateFd(listener) });
  return {
    async close() {
      closing = true;
      server.close();
      // A closed server no longer limits the time of a request, so a client could delay the stop for ever.
      for (const request of arriving) request.socket.destroy();
      server.closeIdleConnections();
      await Promise.all(underWay);
      server.closeAllConnections();
    },
  };
}

/** Returns the process at the other end if its uid is 0. */
function rootProcessOf(socket: Socket): number | undefined {
  // Node has no API for SO_PEERCRED; the descriptor is on the handle.
  const fd = (socket as unknown as { readonly _handle?: { readonly fd?: number } | null })._handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  try {
    const { pid, uid } = peerCredentials(fd);
    return uid === 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  answer: AnswerAdmin,
  read: () => void,
): Promise<void> {
  const left = new AbortController();
  response.once('close', () => {
    if (!response.writableEnded) left.abort();
  });
  try {
    const answered = await answerTo(request, (call) => answer(call, left.signal), read);
    send(response, 200, typeof answered === 'string' ? answered : JSON.stringify(answered, plain));
  } catch (thrown) {
    const failure = asPortcullisError(thrown, {
      code: 'ADMIN_FAILED',
      kind: 'internal',
      attempted: 'answer the request',
      on: request.url ?? '',
      fix: 'see the log of the daemon',
    });
    // The rest of a request that was not read completely cannot be distinguished from the next request.
    if (!request.complete) response.setHeader('Connection', 'close');
    send(response, statusOfKind[failure.kind], JSON.stringify({ error: errorToJson(failure) }, plain));
  }
}

const plain = (_key: string, value: unknown): unknown =>
  typeof value === 'bigint' ? value.toString() : value;

function send(response: ServerResponse, status: number, text: string): void {
  response
    .writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) })
    .end(text);
}

/** @param read called when the request was read completely */
async function answerTo(
  request: IncomingMessage,
  answer: (call: AdminCall) => ReturnType<AnswerAdmin>,
  read: () => void,
): Promise<object | string> {
  const [path = ''] = (request.url ?? '').split('?');
  if (request.method === 'GET' && path === `/${adminVersion}`) return { operations: adminOperations };
  const operation = (Object.keys(adminOperations) as AdminOperation[]).find((name) => pathOf(name) === path);
  if (operation === undefined || request.method !== 'POST')
    throw unknownOperation(request.method ?? '', path);
  const text = await bodyOf(request, operation);
  read();
  const fields = parsed(operation, text);
  return answer({ operation, request: fields } as AdminCall);
}

async function bodyOf(request: IncomingMessage, operation: AdminOperation): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > mostBytes)
      throw badRequest(operation, `it is longer than ${mostBytes} bytes`, 'split it into several requests');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parsed(operation: AdminOperation, text: string): unknown {
  let value: unknown;
  try {
    value = text === '' ? {} : parseJson(text);
  } catch (thrown) {
    throw badRequest(operation, `it is not JSON: ${reasonOf(thrown)}`, 'send a JSON object');
  }
  // A request of our own command has no lines that a reader could look up.
  const position = { file: 'request', line: 0, column: 0 };
  const problems = validate(
    { value, file: 'request', positionOf: () => position },
    adminOperations[operation].request,
  );
  if (problems.length > 0)
    throw badRequest(operation, describeProblems(problems).trimEnd(), 'see docs/admin-api.md for its fields');
  return value;
}

const badRequest = (operation: AdminOperation, why: string, fix: string): PortcullisError =>
  new PortcullisError({
    code: 'ADMIN_BAD_REQUEST',
    kind: 'invalid',
    attempted: 'read the request',
    on: operation,
    why,
    fix,
  });

const unknownOperation = (method: string, path: string): PortcullisError =>
  new PortcullisError({
    code: 'ADMIN_OPERATION_UNKNOWN',
    kind: 'unimplemented',
    attempted: `answer ${method}`,
    on: path,
    why: 'this daemon has no such operation',
    fix: `GET /${adminVersion} lists the operations; use the same version of the command and the daemon`,
  });
