import { readdir, statfs } from 'node:fs/promises';
import { codeIs, tolerate } from '../../base/errors/index.ts';
import { closeFd, createEventFd, drainEventFd, signalEventFd } from '../../base/kernel/index.ts';
import type { Kernel } from '../../base/kernel/index.ts';
import type { Reactor } from '../../base/reactor/index.ts';
import type { Database } from '../../base/storage/index.ts';
import type { HealthCheck } from './health.ts';
import { heartbeat } from './heartbeat.ts';

/** Returns the checks of a liveness probe. Each component must answer a real request. */
export function livenessChecks(parts: {
  readonly database: Pick<Database, 'write'>;
  readonly reactor: Pick<Reactor, 'onReadable'>;
  readonly kernel: Pick<Kernel, 'answers'>;
  /** The folders of the daemon itself. */
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
 * Uses a thread of libuv's pool, like every read of a file. If all of its threads wait for a file system, or
 * the daemon's file system does not answer, the daemon no longer works. The request for the free space goes
 * to the file system itself, and not to the kernel's caches.
 */
async function filesAnswer(folder: string): Promise<void> {
  await readdir(folder);
  await statfs(folder);
}

/**
 * Writes to the database. An error about a full disk is an answer: a restart would not free any space.
 * @throws PortcullisError the other failures of a write (STORAGE_*)
 */
export async function databaseAnswers(database: Pick<Database, 'write'>): Promise<void> {
  await tolerate(codeIs('STORAGE_DISK_FULL'), () => database.write([heartbeat()]));
}

/** Sends a request through the kernel and the reactor, and back. */
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
