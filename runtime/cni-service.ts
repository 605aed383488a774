import { chmodSync } from 'node:fs';
import type { NetworkEngine } from '../cni-plugins/index.ts';
import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { openUnixSocket } from './cri/unix-listener.ts';

/** The socket at which our CNI plugins reach the daemon. */
export interface CniService {
  /** Refuses new calls and resolves when all pending calls have their answer. */
  close(): Promise<void>;
}

/**
 * Serves our CNI plugins for other callers: containerd, CRI-O, podman. Only root may call. A socket that
 * cannot be opened is logged and is no failure: the plugins then work without the daemon, on the same
 * database.
 */
export async function openCniService(
  socket: string,
  network: Pick<NetworkEngine, 'servePlugins'>,
  log: Logger,
): Promise<CniService> {
  try {
    const listener = await openUnixSocket(socket, 0);
    try {
      chmodSync(socket, 0o600);
      const service = await network.servePlugins(listener.fd);
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
    log.error(
      { socket, why: reasonOf(thrown) },
      'CNI plugins are not served by the daemon; they work without it',
    );
    return { close: () => Promise.resolve() };
  }
}
