import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

/** A request to upgrade its connection to another protocol. */
export interface UpgradeRequest {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** The bytes that were read beyond the request. */
  readonly head: Buffer;
  /**
   * Says how to find out whether the client still exists while its socket is not read.
   * @param send sends something that the client does not answer, and that changes nothing for it
   */
  probeWith(send: () => void): void;
}
