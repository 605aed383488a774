import { chmodSync } from 'node:fs';
import { parseJson } from '../base/json/index.ts';
import type { AnswerNetwork, CollectOptions, DenialQuestion, NetworkEngine } from '../cni-plugins/index.ts';
import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import type { Balancing } from './balancing.ts';
import type { DaemonOverlay } from './overlay.ts';
import { openUnixSocket } from './cri/unix-listener.ts';

/** The socket at which our CNI plugins reach the daemon. */
export interface CniService {
  /** Refuses new calls and resolves when all pending calls have their answer. */
  close(): Promise<void>;
}

/**
 * Answers the questions of `portcullis network` and `portcullis service`.
 * @param attached ids of the sandboxes that have a network, or are about to
 */
export function answerNetworkOf(
  network: Pick<NetworkEngine, 'alterations' | 'denials' | 'explain' | 'gc' | 'list'>,
  balancing: Pick<Balancing, 'ask'>,
  overlay: Pick<DaemonOverlay, 'ask'>,
  attached: () => readonly string[],
): AnswerNetwork {
  return async (question, body) => {
    if (question === 'services') return balancing.ask(body);
    if (question === 'overlay') return overlay.ask(body);
    // The command has validated the body, and only root writes to this socket.
    if (question === 'explain') return network.explain(parseJson(body) as DenialQuestion);
    if (question === 'denials') return { denials: await network.denials() };
    if (question === 'alterations') return { alterations: await network.alterations() };
    const before = network.list().map(({ id }) => id);
    const repairs = await network.gc(new Set(attached()), body === '' ? {} : (parseJson(body) as CollectOptions));
    const after = new Set(network.list().map(({ id }) => id));
    return { removed: before.filter((id) => !after.has(id)), kept: after.size, ...repairs };
  };
}

/**
 * Serves our CNI plugins for other callers: containerd, CRI-O, podman. Only root may call. A socket that
 * cannot be opened is logged and is no failure: the plugins then work without the daemon, on the same
 * database.
 */
export async function openCniService(
  socket: string,
  network: Pick<NetworkEngine, 'servePlugins'>,
  answerNetwork: AnswerNetwork,
  log: Logger,
): Promise<CniService> {
  try {
    const listener = await openUnixSocket(socket, 0);
    try {
      chmodSync(socket, 0o600);
      const service = await network.servePlugins(listener.fd, answerNetwork);
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
    log.error({ socket, why: reasonOf(thrown) }, 'CNI plugins are not served by the daemon; they work without it');
    return { close: () => Promise.resolve() };
  }
}
