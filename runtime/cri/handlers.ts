import type { PeerCredentials } from './peer.ts';
import type { ImageService, RuntimeService } from './contract/contract.types.ts';
import type { Init } from './contract/init.ts';

/** What a handler knows of its call beside the request. */
export interface CallContext {
  /** Aborted when the client cancels, its connection is lost, its deadline passes or the server closes; the reason is a `PortcullisError`. */
  readonly signal: AbortSignal;
  /** The process on the other end, as the kernel vouches for it at connect time. */
  readonly peer: PeerCredentials;
  readonly deadline?: Date;
  /** A header of the call, such as a client of ours sends; undefined when it has none of that name. */
  readonly header: (name: string) => string | undefined;
  /** In every log line of the call, its failure's details and the audit log. */
  readonly requestId: string;
}

interface Rpc {
  readonly request: unknown;
  readonly response: unknown;
  readonly stream: boolean;
}

/** A plain async function; a server-streaming RPC is an async iterable of responses. Each is a message, or one that is encoded already. */
export type Handler<Method extends Rpc> = (
  request: Method['request'],
  context: CallContext,
) => Method['stream'] extends true ? AsyncIterable<Init<Method['response']> | Uint8Array> : Promise<Init<Method['response']> | Uint8Array>;

export type RuntimeServiceHandlers = { readonly [Name in keyof RuntimeService]: Handler<RuntimeService[Name]> };
export type ImageServiceHandlers = { readonly [Name in keyof ImageService]: Handler<ImageService[Name]> };
