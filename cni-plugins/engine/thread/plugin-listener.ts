import { createServer } from 'node:net';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { createPluginService } from '../../cni/index.ts';
import type { HandedOver } from '../../cni/index.ts';
import type { CniResult } from '../../spec/result.ts';
import type { PluginCall } from '../../calls/plugin-call.ts';
import { bareType } from '../../calls/plugin-type.ts';

/**
 * Answers plugin calls of other runtimes in the engine's own thread, so that the main thread is not woken up,
 * and a call saves the round trip to it. Calls that wait for other processes there (drivers of libnetwork)
 * are handed over to the main thread.
 */
export interface PluginListener {
  /** Accepts no new calls. Resolves when every call that was read has been answered. */
  close(): Promise<void>;
}

export interface PluginListenerOptions {
  /** A listening unix socket; it is closed together with this listener. */
  readonly fd: number;
  /** Synchronous, except for third-party IPAM plugins. */
  readonly act: (call: PluginCall) => CniResult | undefined | Promise<CniResult | undefined>;
  readonly handOver: (connection: HandedOver) => void;
  readonly log: Pick<Logger, 'warn' | 'debug'>;
}

export function openPluginListener({ fd, act, handOver, log }: PluginListenerOptions): PluginListener {
  const turns = createTurns();
  const service = createPluginService({
    callPlugin: (call) => turns.take(() => act(call)),
    elsewhere: { isFor: (name) => bareType(name) === 'cnm', handOver },
    log,
  });
  const server = createServer((socket) => {
    turns.arrived();
    service.accept(socket);
  });
  // Without a free descriptor (EMFILE) libuv closes the new connection and continues.
  server.on('error', (error) =>
    log.warn({ why: reasonOf(error) }, 'a caller of a CNI plugin could not be accepted'),
  );
  server.listen({ fd });
  return {
    async close() {
      server.close();
      await service.close();
    },
  };
}

interface Turns {
  take<T>(act: () => T | Promise<T>): Promise<T>;
  /** A client connected, so more may follow. */
  arrived(): void;
}

/**
 * The longest time, in ms, for which acts are deferred while clients keep connecting: much less than the
 * first client waits for its answer.
 */
const longestPause = 100;

/**
 * Runs one act per round of the event loop, and none in a round in which a client connected. libuv accepts
 * one connection per round, and a client that waits two seconds for its greeting works without the daemon
 * (cni/server/frames.ts). The first call is deferred as well: if each call acted at once, the last of many
 * clients would receive its greeting only after the acts of all others.
 */
function createTurns(): Turns {
  const waiting: (() => void)[] = [];
  let busy = false;
  let came = false;
  let actedAt = 0;
  const next = (): void => {
    busy = waiting.length > 0;
    if (!busy) return;
    setImmediate(next);
    const now = performance.now();
    if (came && now - actedAt < longestPause) {
      came = false;
      return;
    }
    waiting.shift()?.();
    actedAt = performance.now();
  };
  return {
    take: async (act) => {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (!busy) setImmediate(next);
        busy = true;
      });
      try {
        return await act();
      } finally {
        actedAt = performance.now();
      }
    },
    arrived: () => void (came = true),
  };
}
