import type { NetworkEngine } from '../cni-plugins/index.ts';
import type { Logger } from '../base/log/index.ts';
import { openServedSocket } from './served-socket.ts';
import type { ServedSocket } from './served-socket.ts';

/**
 * Serves our CNI plugins for other callers: containerd, CRI-O, podman. Only root may call. A socket that
 * cannot be opened is logged and is not a failure: the plugins then work without the daemon, on the same
 * database.
 */
export function openCniService(
  socket: string,
  network: Pick<NetworkEngine, 'servePlugins'>,
  log: Logger,
): Promise<ServedSocket> {
  return openServedSocket(
    socket,
    (fd) => network.servePlugins(fd),
    log,
    'the daemon does not serve CNI plugins; they work without the daemon',
  );
}
