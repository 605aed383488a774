import { Socket } from 'node:net';
import type * as undici from 'undici';
import { carriedBy } from './in-place.ts';

/**
 * An interceptor of undici that passes each piece of a body to the reader that uses it at once, and copies it
 * for all other readers if its memory is used again.
 */
export const passInPlace: undici.Dispatcher.DispatcherComposeInterceptor =
  (dispatch) => (options, handler) => {
    const inPlace = carriedBy(options);
    if (inPlace === undefined) return dispatch(options, handler);
    return dispatch(options, {
      onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
      onRequestUpgrade: (...upgrade) => handler.onRequestUpgrade?.(...upgrade),
      onResponseStart: (...start) => handler.onResponseStart?.(...start),
      onResponseData(controller, chunk) {
        if (inPlace.take?.(chunk) === true) return;
        handler.onResponseData?.(controller, inPlace.copies ? Buffer.from(chunk) : chunk);
      },
      onResponseEnd: (controller, trailers) => handler.onResponseEnd?.(controller, trailers),
      onResponseError: (controller, error) => handler.onResponseError?.(controller, error),
    });
  };

/**
 * Returns options of net.connect() and tls.connect() for a connection that receives everything into one
 * buffer of its own. Nothing is allocated for a piece, and its bytes are still in the processor's cache when
 * they are used. undici reads the socket as any other: the handle stops after each piece, and goes on when
 * the stream, which never reads ahead, has given the piece away.
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
        this.push(buffer.subarray(0, length));
        return false;
      },
    },
  };
}
