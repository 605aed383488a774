import { Metadata } from '@grpc/grpc-js';
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  ServerUnaryCall,
  ServerWritableStream,
} from '@grpc/grpc-js';
import { once } from 'node:events';
import type { EventEmitter } from 'node:events';
import { PortcullisError, reasonOf } from '../../base/errors/index.ts';
import { withLogFields } from '../../base/log/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ConnectionBook } from './connections.ts';
import type { RpcDefinition } from './contract/services.ts';
import type { CallContext } from './handlers.ts';
import { largestMessage } from './limits.ts';
import { observeAll } from './observe.ts';
import type { CallObserver, ObservedCall } from './observe.ts';
import { requestIdHeader, requestIdOf } from './request-id.ts';
import { asFailure, toStatus } from './status.ts';

/** The context that all calls of one server share. */
export interface CallSite {
  readonly log: Logger;
  readonly connections: ConnectionBook;
  /** Aborted when the server ends running calls. */
  readonly closing: AbortSignal;
  readonly track: (call: Promise<void>) => void;
  /** The first is the outermost. */
  readonly observers: readonly CallObserver[];
}

type AnyCall = ServerUnaryCall<Buffer, Buffer> | ServerWritableStream<Buffer, Buffer>;
type UnaryHandler = (request: unknown, context: CallContext) => Promise<object>;
type StreamHandler = (request: unknown, context: CallContext) => AsyncIterable<object>;

/** RPCs that only read. They are logged at debug level; the others (which change state) at info level. */
const readsOnly = /^(Version|Status|RuntimeConfig|List.*|Stream.*|Get.*|ImageFsInfo|.*Status|.*Stats)$/;

/** Serves a unary RPC. `handler` is undefined, or the handler that the types of handlers.ts give this RPC. */
export function serveUnary(
  site: CallSite,
  rpc: RpcDefinition,
  handler: unknown,
): handleUnaryCall<Buffer, Buffer> {
  return (call, respond) => {
    const run = async (context: CallContext, observed: Required<ObservedCall>): Promise<object> => {
      if (typeof handler !== 'function') throw unimplemented(rpc);
      const request = decodeRequest(rpc, call.request);
      await observed.admit(request);
      const response = await observed.within(() => (handler as UnaryHandler)(request, context));
      respond(null, encodeResponse(rpc, response));
      return response;
    };
    site.track(serve(site, rpc, call, run, (status) => respond(status)));
  };
}

/** Like {@link serveUnary}, for an RPC that answers with a stream. Waits for a slow reader. */
export function serveStream(
  site: CallSite,
  rpc: RpcDefinition,
  handler: unknown,
): handleServerStreamingCall<Buffer, Buffer> {
  return (call) => {
    const stream = async (request: unknown, context: CallContext): Promise<void> => {
      const responses = (handler as StreamHandler)(request, context);
      // Sent at once: a watching client then knows that it misses nothing from now on.
      call.sendMetadata(new Metadata());
      for await (const response of responses) {
        context.signal.throwIfAborted();
        if (!call.write(encodeResponse(rpc, response))) await once(call, 'drain', { signal: context.signal });
      }
      call.end();
    };
    const run = async (context: CallContext, observed: Required<ObservedCall>): Promise<undefined> => {
      if (typeof handler !== 'function') throw unimplemented(rpc);
      const request = decodeRequest(rpc, call.request);
      await observed.admit(request);
      await observed.within(() => stream(request, context));
    };
    site.track(serve(site, rpc, call, run, (status) => call.emit('error', status)));
  };
}

function decodeRequest(rpc: RpcDefinition, bytes: Buffer): unknown {
  try {
    return rpc.request.decode(bytes);
  } catch (thrown) {
    const why = `the request is not a valid message: ${reasonOf(thrown)}`;
    throw new PortcullisError({
      code: 'CRI_BAD_REQUEST',
      kind: 'invalid',
      attempted: 'read request of',
      on: rpc.name,
      why,
      fix: 'send a CRI v1 message',
    });
  }
}

function encodeResponse(rpc: RpcDefinition, response: object): Buffer {
  const bytes =
    response instanceof Uint8Array
      ? Buffer.from(response.buffer, response.byteOffset, response.length)
      : rpc.response.encode(response);
  if (bytes.length <= largestMessage) return bytes;
  const why = `the response has ${bytes.length} bytes, and a client accepts at most ${largestMessage}`;
  throw new PortcullisError({
    code: 'CRI_RESPONSE_TOO_LARGE',
    kind: 'exhausted',
    attempted: 'answer',
    on: rpc.name,
    why,
    fix: 'request less data, with a filter',
  });
}

type Run = (context: CallContext, observed: Required<ObservedCall>) => Promise<object | undefined>;
type Fail = (status: ReturnType<typeof toStatus>) => void;

/** Runs one call to its end. Never rejects. */
function serve(site: CallSite, rpc: RpcDefinition, call: AnyCall, run: Run, fail: Fail): Promise<void> {
  const requestId = requestIdOf(headerOf(call, requestIdHeader));
  return withLogFields({ request: requestId }, () => serveNamed(site, rpc, call, requestId, run, fail));
}

async function serveNamed(
  site: CallSite,
  rpc: RpcDefinition,
  call: AnyCall,
  requestId: string,
  run: Run,
  fail: Fail,
): Promise<void> {
  const started = performance.now();
  const connection = call.getPeer();
  const peer = site.connections.peerOf(connection);
  const abort = new AbortController();
  const cancel = (): void =>
    abort.abort(
      interrupted('CRI_CANCELLED', 'cancelled', rpc, 'the client cancelled the call or disconnected'),
    );
  const close = (): void =>
    abort.abort(interrupted('CRI_CLOSING', 'unavailable', rpc, 'the daemon is stopping'));
  const events: EventEmitter = call;
  events.once('cancelled', cancel);
  site.closing.addEventListener('abort', close, { once: true });
  const deadline = deadlineOf(call);
  const expire = (): void =>
    abort.abort(interrupted('CRI_DEADLINE', 'deadline', rpc, "the client's deadline has passed"));
  // The connection keeps the process alive. A call that outlives it, such as a stop with a long grace period,
  // must not.
  const timer =
    deadline === undefined
      ? undefined
      : setTimeout(expire, Math.min(Math.max(deadline.getTime() - Date.now(), 0), 0x7fff_ffff)).unref();
  const header = (name: string): string | undefined => headerOf(call, name);
  const observed = observeAll(site.observers, {
    rpc: rpc.name,
    service: rpc.path.slice(1, rpc.path.lastIndexOf('/')),
    readsOnly: readsOnly.test(rpc.name),
    requestId,
    peer,
    header,
  });
  site.connections.callBegins(connection);
  let failure: PortcullisError | undefined;
  let response: object | undefined;
  let code = 0;
  try {
    if (peer === undefined) throw interrupted('CRI_CANCELLED', 'cancelled', rpc, 'its connection was closed');
    response = await run(
      { signal: abort.signal, peer, requestId, header, ...(deadline === undefined ? {} : { deadline }) },
      observed,
    );
  } catch (thrown) {
    failure = asFailure(abort.signal.aborted && isAbort(thrown) ? abort.signal.reason : thrown, rpc.name);
    if (failure.code === 'CRI_INTERNAL')
      site.log.error({ rpc: rpc.name, err: describe(thrown) }, 'a handler failed unexpectedly');
    const status = toStatus(failure, rpc.name, requestId);
    code = status.code ?? 0;
    fail(status);
  } finally {
    clearTimeout(timer);
    site.connections.callEnds(connection);
    events.off('cancelled', cancel);
    site.closing.removeEventListener('abort', close);
    const milliseconds = Math.round((performance.now() - started) * 10) / 10;
    const fields = { rpc: rpc.name, connection, peer, ms: milliseconds };
    if (failure !== undefined)
      site.log.info({ ...fields, code: failure.code, why: failure.message }, 'call failed');
    else if (readsOnly.test(rpc.name)) site.log.debug(fields, 'call');
    else site.log.info(fields, 'call');
    observed.end({
      code,
      milliseconds,
      ...(failure !== undefined && { failure }),
      ...(response !== undefined && { response }),
    });
  }
}

function headerOf(call: AnyCall, name: string): string | undefined {
  const [value] = call.metadata.get(name);
  return typeof value === 'string' ? value : undefined;
}

function deadlineOf(call: AnyCall): Date | undefined {
  const deadline = call.getDeadline();
  const time = typeof deadline === 'number' ? deadline : deadline.getTime();
  return Number.isFinite(time) ? new Date(time) : undefined;
}

function isAbort(thrown: unknown): boolean {
  return thrown instanceof Error && (thrown.name === 'AbortError' || thrown.name === 'TimeoutError');
}

function describe(thrown: unknown): object {
  return thrown instanceof Error
    ? { name: thrown.name, message: thrown.message, stack: thrown.stack }
    : { message: String(thrown) };
}

function interrupted(
  code: string,
  kind: 'cancelled' | 'deadline' | 'unavailable',
  rpc: RpcDefinition,
  why: string,
): PortcullisError {
  return new PortcullisError({
    code,
    kind,
    attempted: 'serve',
    on: rpc.name,
    why,
    fix: 'send the request again',
  });
}

function unimplemented(rpc: RpcDefinition): PortcullisError<'CRI_UNIMPLEMENTED'> {
  return new PortcullisError({
    code: 'CRI_UNIMPLEMENTED',
    kind: 'unimplemented',
    attempted: 'serve',
    on: rpc.path.slice(1),
    why: `${rpc.name} is not implemented by this version of Portcullis`,
    fix: 'use a version that implements it',
  });
}
