import { chmodSync } from 'node:fs';
import { isPortcullisError, meansShortage, reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { openUnixSocket } from './cri/unix-listener.ts';

/** A service on a Unix socket. */
export interface ServedSocket {
  /** Refuses new requests and resolves when all pending requests have their answer. */
  close(): Promise<void>;
}

/**
 * Serves a Unix socket that only root may use. A socket that cannot be opened is logged and is not a failure.
 * The only exception is a lack of descriptors or memory: a daemon that starts without them fails in other
 * places as well, so the start fails, and is repeated.
 * @param serve begins to accept connections on the listening descriptor
 * @param notServed the message of the log if the socket cannot be opened
 * @throws PortcullisError CRI_SOCKET_LISTEN of the kind `exhausted`, and such errors of `serve`
 */
export async function openServedSocket(
  socket: string,
  serve: (fd: number) => ServedSocket | Promise<ServedSocket>,
  log: Logger,
  notServed: string,
): Promise<ServedSocket> {
  try {
    const listener = await openUnixSocket(socket);
    try {
      chmodSync(socket, 0o600);
      const service = await serve(listener.fd);
      return {
        close: async () => {
          listener.close();
          await service.close();
        },
      };
    } catch (thrown) {
      listener.close();
      throw thrown;
    }
  } catch (thrown) {
    if (meansShortage(thrown) || (isPortcullisError(thrown) && thrown.kind === 'exhausted')) throw thrown;
    log.error({ socket, why: reasonOf(thrown) }, notServed);
    return { close: () => Promise.resolve() };
  }
}
