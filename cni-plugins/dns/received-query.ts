import type { IpAddress } from '../../base/addresses/index.ts';
import type { HostNamespace } from './host-namespace.ts';

export interface ReceivedQuery {
  /** Valid until the call that receives it returns. */
  readonly message: Buffer;
  readonly asker: IpAddress;
  readonly byStream: boolean;
  /** Called once, or never for a message that gets no answer. */
  reply(message: Buffer | undefined): void;
}

export interface ListenerOptions {
  readonly place: HostNamespace;
  readonly address: IpAddress;
  readonly port: number;
  readonly onQuery: (received: ReceivedQuery) => void;
  /** Called after some questions arrived, before the first of them is passed on. */
  readonly onQueriesReceived: () => void;
  /** A socket failed, and the listener is closed. */
  readonly onFailure: (why: string) => void;
}
