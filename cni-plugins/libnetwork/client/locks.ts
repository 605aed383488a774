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

/** Longer than a driver that does not answer makes its callers wait. */
const patienceMs = 120_000;

/** @param folder created when it is needed */
export function openNetworkLocks(folder: string): NetworkLocks {
  /** Callers in this process wait in order; only the first one polls the file. */
  const last = new Map<string, Promise<unknown>>();
  return {
    async holding(network, body) {
      const before = last.get(network);
      const turn = (async () => {
        await before?.catch(() => undefined);
        const fd = await take(folder, network);
        try {
          return await body();
        } finally {
          closeSync(fd);
        }
      })();
      last.set(network, turn);
      try {
        return await turn;
      } finally {
        if (last.get(network) === turn) last.delete(network);
      }
    },
  };
}

async function take(folder: string, network: string): Promise<number> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fd = openSync(join(folder, `${network}.lock`), 'a', 0o600);
  try {
    const until = performance.now() + patienceMs;
    for (let pauseMs = 2; !tryLockFile(fd); pauseMs = Math.min(2 * pauseMs, 100)) {
      if (performance.now() > until) throw busy(network);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    return fd;
  } catch (thrown) {
    closeSync(fd);
    throw thrown;
  }
}

function busy(network: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_BUSY',
    kind: 'unavailable',
    attempted: 'change the network of a remote driver',
    on: network,
    why: `another change of it has been under way for ${patienceMs / 1000} s`,
    fix: 'check that its driver answers; then try again',
  });
}
