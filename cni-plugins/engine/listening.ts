import { Socket } from 'node:net';
import { closeFd, duplicateFd } from '../../base/kernel/index.ts';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import type { ServePlugins } from '../calls/serving.types.ts';
import { createPluginService } from '../cni/index.ts';
import type { HandedOver, PluginService } from '../cni/index.ts';
import type { CallPlugin } from '../calls/plugin-call.ts';
import type { Answer, Call } from './thread/protocol.ts';

/** Plugin calls that arrive at a socket (plugin-listener.ts), as seen from the main thread. */
export interface ListeningSide {
  readonly servePlugins: ServePlugins;
  /** Takes a connection from the engine's thread. */
  take(connection: HandedOver): void;
  /** The engine's thread was lost; another one will listen soon. */
  lost(): void;
}

/** Prevents a restart loop if each thread is lost at once. */
const againMs = 1000;

/** @param ask calls the engine's thread, which is started if there is none */
export function createListeningSide(
  ask: (call: Call) => Promise<Answer>,
  callPlugin: CallPlugin,
  log: Logger,
): ListeningSide {
  let open: { readonly listener: number; readonly service: PluginService } | undefined;
  let again: NodeJS.Timeout | undefined;

  const listen = async (listener: number): Promise<void> =>
    void (await ask({ do: 'listen', fd: duplicateFd(listener) }));

  const listenAgain = (): void => {
    clearTimeout(again);
    again = setTimeout(() => {
      if (open === undefined) return;
      listen(open.listener).catch((thrown: unknown) => {
        log.warn(
          { why: reasonOf(thrown) },
          'the network thread does not serve plugin calls; they work without it, and it is tried again',
        );
        if (open !== undefined) listenAgain();
      });
    }, againMs).unref();
  };

  return {
    async servePlugins(listener) {
      const service = createPluginService({ callPlugin, log });
      await listen(listener);
      open = { listener, service };
      return {
        async close() {
          open = undefined;
          clearTimeout(again);
          await ask({ do: 'stop-listening' });
          await service.close();
        },
      };
    },
    take({ fd, first }) {
      if (open === undefined) return closeFd(fd);
      open.service.accept(new Socket({ fd, readable: true, writable: true }), Buffer.from(first));
    },
    lost() {
      if (open !== undefined) listenAgain();
    },
  };
}
