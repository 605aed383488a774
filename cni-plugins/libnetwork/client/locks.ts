import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { tryLockFile } from '../../../base/kernel/index.ts';
import { PortcullisError } from '../../../base/errors/index.ts';

/**
 * Locks that allow one process at a time to change a network of a remote driver: a lock file for each
 * network. The kernel releases the lock when its holder ends. The holder of a lock knows that anything
 * half-created was left by a process that died. Waiting blocks no thread.
 */
export interface NetworkLocks {
  /** Runs `body` with the lock of the network. @throws NETWORK_BUSY */
  holding<T>(network: string, body: () => Promise<T>): Promise<T>;
}

/**
 * A driver that does not answer can hold up one caller for longer. The others then try again later instead of
 * waiting for several times its time limit.
 */
const defaultPatienceMs = 120_000;

/**
 * @param folder created when it is needed
 * @param patienceMs how long one caller waits at most for all earlier ones
 */
export function openNetworkLocks(folder: string, patienceMs = defaultPatienceMs): NetworkLocks {
  /**
   * Callers in this process wait in order; only the first one polls the file. Ends when the last one and all
   * earlier ones have ended.
   */
  const last = new Map<string, Promise<unknown>>();
  return {
    async holding(network, body) {
      const before = last.get(network);
      const until = performance.now() + patienceMs;
      const turn = (async () => {
        if (before !== undefined && !(await endsBefore(before, until))) throw busy(network, patienceMs);
        const fd = await take(folder, network, until);
        if (fd === undefined) throw busy(network, patienceMs);
        using opened = new DisposableStack();
        opened.defer(() => closeSync(fd));
        return await body();
      })();
      // The next caller waits for the earlier ones even if this one gives up.
      const all = Promise.allSettled([before, turn]).then(() => undefined);
      last.set(network, all);
      void all.then(() => {
        if (last.get(network) === all) last.delete(network);
      });
      return turn;
    },
  };
}

async function endsBefore(earlier: Promise<unknown>, until: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(resolve, until - performance.now(), false);
  });
  try {
    return await Promise.race([earlier.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Returns undefined if another process holds the lock for all this time. */
async function take(folder: string, network: string, until: number): Promise<number | undefined> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(join(folder, `${network}.lock`), 'a', 0o600);
  try {
    for (let pauseMs = 2; !tryLockFile(fd); pauseMs = Math.min(2 * pauseMs, 100)) {
      if (performance.now() > until) {
        closeSync(fd);
        return undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

function busy(network: string, patienceMs: number): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BUSY',
    kind: 'unavailable',
    attempted: 'change the network of a remote driver',
    on: network,
    why: `another change of it has been under way for ${patienceMs / 1000} s`,
    fix: 'check that its driver answers; then try again',
  });
}
