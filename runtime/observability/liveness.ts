import { readdir, statfs } from 'node:fs/promises';
import { isPortcullisError } from '../../base/errors/index.ts';
import { closeFd, createEventFd, drainEventFd, signalEventFd } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { HealthCheck } from './health.ts';
import { heartbeat } from './heartbeat.ts';

/** What a liveness probe is about: each part answers a real question. */
export function livenessChecks(parts: {
  readonly database: Pick<Database, 'write'>;
  readonly reactor: Pick<Reactor, 'onReadable'>;
  readonly kernel: Pick<Kernel, 'answers'>;
  /** Of the daemon itself. */
  readonly folders: readonly string[];
}): readonly HealthCheck[] {
  const { database, reactor, kernel } = parts;
  return [
    { name: 'files', check: () => Promise.all(parts.folders.map(filesAnswer)) },
    { name: 'database', check: () => databaseAnswers(database) },
    { name: 'reactor', check: () => reactorAnswers(reactor) },
    { name: 'namespaces', check: () => kernel.answers('namespaces') },
    { name: 'mounts', check: () => kernel.answers('mounts') },
    { name: 'programs', check: () => kernel.answers('programs') },
  ];
}

/**
 * By a thread of libuv's pool, as all that is read of files: when every one of them waits for a file system, or that of the daemon does not answer,
 * it does nothing any more. How much is free is asked of the file system itself, and not of the kernel's caches.
 */
async function filesAnswer(folder: string): Promise<void> {
  await readdir(folder);
  await statfs(folder);
}

/** A disk without room is an answer: a restart would not free any. */
async function databaseAnswers(database: Pick<Database, 'write'>): Promise<void> {
  try {
    await database.write([heartbeat()]);
  } catch (error) {
    if (!isPortcullisError(error) || error.code !== 'STORAGE_DISK_FULL') throw error;
  }
}

/** Through the kernel and the reactor's Worker, and back. */
function reactorAnswers(reactor: Pick<Reactor, 'onReadable'>): Promise<void> {
  const fd = createEventFd();
  return new Promise<void>((resolve) => {
    const stop = reactor.onReadable(fd, () => {
      drainEventFd(fd);
      stop();
      closeFd(fd);
      resolve();
    });
    signalEventFd(fd);
  });
}
