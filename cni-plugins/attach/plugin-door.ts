import { createServer } from 'node:net';
import { reasonOf } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { doorName } from '../serve/network-door.ts';
import { createPluginService } from '../serve/service.ts';
import type { HandedOver } from '../serve/service.ts';
import type { CniResult } from '../spec/result.ts';
import type { PluginCall } from './plugin-call.ts';
import { bareType } from './plugin-type.ts';

/**
 * Plugin calls of other runtimes, answered in the engine's own thread: the main thread is not woken up for them, and a call costs no way to it and
 * back. What waits there for somebody else (drivers of libnetwork's) or is not about attachments (questions of commands) is handed over to it.
 */
export interface PluginDoor {
  /** No new ones. Resolves when every call that was read has its answer. */
  close(): Promise<void>;
}

export interface PluginDoorOptions {
  /** A listening unix socket; closed with the door. */
  readonly fd: number;
  /** Synchronous, but for an address plugin of others. */
  readonly act: (call: PluginCall) => CniResult | undefined | Promise<CniResult | undefined>;
  readonly handOver: (connection: HandedOver) => void;
  readonly log: Pick<Logger, 'warn' | 'debug'>;
}

export function openPluginDoor({ fd, act, handOver, log }: PluginDoorOptions): PluginDoor {
  const turns = createTurns();
  const service = createPluginService({
    callPlugin: (call) => turns.take(() => act(call)),
    elsewhere: { isFor: (name) => name === doorName || bareType(name) === 'cnm', handOver },
    log,
  });
  const server = createServer((socket) => {
    turns.arrived();
    service.accept(socket);
  });
  // Without a descriptor left (EMFILE) libuv closes who came, and goes on.
  server.on('error', (error) => log.warn({ why: reasonOf(error) }, 'a caller of a CNI plugin could not be accepted'));
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
  /** Somebody came: there may be more. */
  arrived(): void;
}

/** How long acts may be put off for those who still come, in ms: much less than whoever came first waits for its answer. */
const longestPause = 100;

/**
 * One act in a round of the loop, and none in a round in which somebody came: libuv accepts one connection a round, and whoever waits two seconds for its
 * greeting goes its own way (serve/frames.ts). That holds for the first call of all as well: where each acted at once, the last of many would be
 * greeted after the acts of all others.
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
