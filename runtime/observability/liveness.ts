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
    {
      name: 'database',
      check: () => database.write([heartbeat()]),
    },
    { name: 'reactor', check: () => reactorAnswers(reactor) },
    { name: 'namespaces', check: () => kernel.answers('namespaces') },
    { name: 'mounts', check: () => kernel.answers('mounts') },
  ];
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
