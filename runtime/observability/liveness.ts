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
  readonly kernel: Pick<Kernel, 'unpinNamespaces' | 'umount'>;
  /** A path that is never there. */
  readonly absent: string;
}): readonly HealthCheck[] {
  const { database, reactor, kernel, absent } = parts;
  return [
    {
      name: 'database',
      check: () => database.write([heartbeat()]),
    },
    { name: 'reactor', check: () => reactorAnswers(reactor) },
    { name: 'namespaces', check: () => kernel.unpinNamespaces(absent) },
    { name: 'mounts', check: () => kernel.umount(absent).then(impossible, expectAbsent) },
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

/** The kernel's "no such file" is the right answer: the Worker has asked it. */
function expectAbsent(cause: unknown): void {
  if (isPortcullisError(cause) && cause.code === 'KERNEL_ENOENT') return;
  throw cause;
}

function impossible(): never {
  throw new Error('a path that is not there was unmounted');
}
