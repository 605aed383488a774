import { constants } from 'node:http2';
import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2';
import { toStatus } from '../cri/status.ts';
import type { BackendConnection } from './backend.ts';
import { deadlinePassed, isCancelled, rpcOf, unreachable } from './backend.ts';
import { endWithStatus, messageEditor, passedHeaders } from './grpc.ts';

/**
 * Passes a call on as it is, in both directions: bytes, headers, deadline, cancellation, trailers. Data flows
 * only as fast as the other side reads.
 * @returns the gRPC status of the answer, once the call has ended; undefined if the client has gone
 */
export function passOn(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  backend: BackendConnection,
  call: {
    readonly path: string;
    readonly socket: string;
    readonly requestId: string;
    /** Changes each message of the answer. */
    readonly edit?: ((message: Buffer) => Buffer) | undefined;
  },
): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const { 'grpc-accept-encoding': accepted, ...passed } = passedHeaders(headers);
  const request = backend.begin(
    call.path,
    call.edit === undefined && accepted !== undefined
      ? { ...passed, 'grpc-accept-encoding': accepted }
      : passed,
  );
  const { session } = request;
  const answer = call.edit === undefined ? request : request.pipe(messageEditor(call.edit));
  let trailers: IncomingHttpHeaders | undefined;
  let problem = 'the backend ended the call without a status';
  let wasEdited = true;
  const rpc = rpcOf(call.path);
  const hasDeadline = headers['grpc-timeout'] !== undefined;
  const broken = (): Parameters<typeof endWithStatus>[1] => {
    const isLate = wasEdited && hasDeadline && isCancelled(request, session);
    return toStatus(isLate ? deadlinePassed(rpc) : unreachable(call.socket, problem), rpc, call.requestId);
  };

  request.on('error', (error) => (problem = error.message));
  request.once('response', (found, flags) => {
    if (stream.destroyed || stream.closed) return;
    const first = { ...passedHeaders(found), ':status': found[':status'] ?? 200 };
    if ((flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0) {
      trailers = found;
      stream.respond(first, { endStream: true });
      return;
    }
    stream.respond(first, { waitForTrailers: true });
    answer.pipe(stream, { end: false });
  });
  let hasEnded = false;
  const finish = (isClosed: boolean): void => {
    if (stream.destroyed || stream.closed || stream.writableEnded) return;
    if (hasEnded && trailers !== undefined) {
      const last = passedHeaders(trailers);
      stream.once('wantTrailers', () => stream.sendTrailers(last));
      stream.end();
    } else if (isClosed) {
      answer.unpipe(stream);
      endWithStatus(stream, broken());
    }
  };
  request.once('trailers', (found) => {
    trailers = found;
    finish(false);
  });
  answer.once('end', () => {
    hasEnded = true;
    finish(false);
  });
  answer.on('error', (error: Error) => {
    problem = error.message;
    wasEdited = false;
    request.close(constants.NGHTTP2_CANCEL);
  });
  // Data that was not read by now is lost.
  request.once('close', () => finish(answer === request || trailers === undefined || request.rstCode !== 0));
  // An answer may end before the request does.
  stream.on('error', () => undefined);
  stream.pipe(request);
  stream.once('close', () => {
    // After a complete answer, the rest of a request is not needed.
    const isComplete = hasEnded && trailers !== undefined;
    if (!request.closed) request.close(isComplete ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
    const status = trailers?.['grpc-status'];
    resolve(typeof status === 'string' ? status : undefined);
  });
  return promise;
}
