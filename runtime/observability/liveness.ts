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
}): readonly HealthCheck[] {
  const { database, reactor, kernel } = parts;
  return [
    { name: 'database', check: () => databaseAnswers(database) },
    { name: 'reactor', check: () => reactorAnswers(reactor) },
    { name: 'namespaces', check: () => kernel.answers('namespaces') },
    { name: 'mounts', check: () => kernel.answers('mounts') },
  ];
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
