import type { PeerCredentials } from './peer.ts';
import type { ImageService, RuntimeService } from './contract/contract.types.ts';
import type { Init } from '../../base/protobuf/index.ts';

/** Data of a call that its handler gets besides the request. */
export interface CallContext {
  /**
   * Aborted when the client cancels, its connection is lost, its deadline passes or the server closes. The
   * reason is a `PortcullisError`.
   */
  readonly signal: AbortSignal;
  /** The process at the other end, as the kernel identified it at connect time. */
  readonly peer: PeerCredentials;
  readonly deadline?: Date;
  /**
   * Returns a header of the call, for example from our own client. Undefined when the call has no such
   * header.
   */
  readonly header: (name: string) => string | undefined;
  /** Contained in every log line of the call, in the details of its failure and in the audit log. */
  readonly requestId: string;
}

interface Rpc {
  readonly request: unknown;
  readonly response: unknown;
  readonly stream: boolean;
}

/**
 * A plain async function. A server-streaming RPC is an async iterable of responses. Each response is a
 * message, or an encoded message.
 */
export type Handler<Method extends Rpc> = (
  request: Method['request'],
  context: CallContext,
) => Method['stream'] extends true
  ? AsyncIterable<Init<Method['response']> | Uint8Array>
  : Promise<Init<Method['response']> | Uint8Array>;

export type RuntimeServiceHandlers = {
  readonly [Name in keyof RuntimeService]: Handler<RuntimeService[Name]>;
};
export type ImageServiceHandlers = { readonly [Name in keyof ImageService]: Handler<ImageService[Name]> };
