import { isPortcullisError, PortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { PeerCredentials } from '../cri/peer.ts';
import type { MessageCodec } from '../../base/protobuf/index.ts';
import type { BackendAnswer } from './backend.ts';

/** A call that the proxy reads. */
export interface InterceptedCall {
  readonly request: Buffer;
  /** Aborted when the client cancels or goes away, when its deadline passes, and when the proxy stops. */
  readonly signal: AbortSignal;
  readonly requestId: string;
  readonly peer: PeerCredentials;
  /** Passes the call on with this message. @throws BackendStatus, PROXY_BACKEND_UNREACHABLE */
  forward(message: Uint8Array): Promise<BackendAnswer>;
  /** Asks the backend something else. @param rpc `ImageService/ImageStatus` @throws as {@link forward} */
  ask(rpc: string, message: Uint8Array): Promise<Buffer>;
  /**
   * The same calls for what the proxy must record: they may last for a minute after the client cancels, goes
   * away or meets its deadline.
   */
  readonly lasting: Pick<InterceptedCall, 'forward' | 'ask'>;
}

/** Answers a call, with the backend's answer or a changed one. */
export type Interceptor = (call: InterceptedCall) => Promise<BackendAnswer>;

/** Interceptors of unary calls, and editors of the messages of streams, by `SERVICE/METHOD`. */
export interface Interceptors {
  readonly calls: Readonly<Record<string, Interceptor>>;
  /** Changes each message that a stream of the backend answers with. */
  readonly streams: Readonly<Record<string, (message: Buffer) => Buffer>>;
}

/** Reads a request. @throws PortcullisError CRI_BAD_REQUEST */
export function decoded<T>(codec: MessageCodec<T>, bytes: Uint8Array): T {
  return readable(() => codec.decode(bytes));
}

/** Runs code that reads a request at the level of its encoding. @throws PortcullisError CRI_BAD_REQUEST */
export function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (thrown) {
    if (isPortcullisError(thrown)) throw thrown;
    throw new PortcullisError({
      code: 'CRI_BAD_REQUEST',
      kind: 'invalid',
      attempted: 'read request of',
      on: 'the call',
      why: `it is not a valid message: ${reasonOf(thrown)}`,
      fix: 'send a CRI v1 message',
    });
  }
}
