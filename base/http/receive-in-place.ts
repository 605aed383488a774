import { Socket } from 'node:net';
import type * as undici from 'undici';
import { carriedBy } from './in-place.ts';

/** The connection that received a piece with memory of its own. */
const receivers = new WeakMap<ArrayBufferLike, Socket>();
/**
 * The connections that receive a body whose reader uses each piece at once. Only they use memory again.
 * undici keeps parts of a head until the head is complete, and what a paused body leaves in the socket. TLS
 * passes on all records that it has, also after it was stopped.
 */
const inBody = new WeakSet<Socket>();

/** An interceptor of undici that passes each piece of a body to the reader that uses it at once. */
export const passInPlace: undici.Dispatcher.DispatcherComposeInterceptor =
  (dispatch) => (options, handler) => {
    const inPlace = carriedBy(options);
    if (inPlace === undefined) return dispatch(options, handler);
    let socket: Socket | undefined;
    const endBody = (): void => {
      if (socket !== undefined) inBody.delete(socket);
    };
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
      onResponseStart: (...start) => handler.onResponseStart?.(...start),
      onResponseData(controller, chunk) {
        if (inPlace.take?.(chunk) !== true) return handler.onResponseData?.(controller, chunk);
        if (socket !== undefined) return;
        socket = receivers.get(chunk.buffer);
        if (socket !== undefined) inBody.add(socket);
      },
      onResponseEnd(controller, trailers) {
        endBody();
        handler.onResponseEnd?.(controller, trailers);
      },
      onResponseError(controller, error) {
        endBody();
        handler.onResponseError?.(controller, error);
      },
    });
  };

function withOwnMemory(bytes: Buffer, socket: Socket): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  receivers.set(copy.buffer, socket);
  return copy;
}

/**
 * Returns options of net.connect() and tls.connect() for a connection that receives everything into one
 * buffer of its own. Nothing is allocated for a piece that is used at once, and its bytes are still in the
 * processor's cache then. All others are copied. undici reads the socket as any other: the handle stops after
 * each piece, and goes on when the stream, which never reads ahead, has given the piece away.
 * Source: Node.js documentation, net, `new net.Socket([options])`, `onread`.
 * @param bytes size of the buffer
 */
export function intoOneBuffer(bytes: number): object {
  let used: Buffer | undefined;
  return {
    highWaterMark: 0,
    onread: {
      // Called for a new connection, and directly after each call of `callback`: the connection keeps its
      // buffer.
      buffer() {
        const next = used ?? Buffer.allocUnsafeSlow(bytes);
        used = undefined;
        return next;
      },
      callback(this: unknown, length: number, buffer: Buffer): boolean {
        used = buffer;
        // Node calls it as a method of the socket, which the documentation does not promise.
        if (!(this instanceof Socket)) throw new Error('Node does not name the socket that received');
        const bytes = buffer.subarray(0, length);
        this.push(inBody.has(this) ? bytes : withOwnMemory(bytes, this));
        return false;
      },
    },
  };
}
