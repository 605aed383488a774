import { once } from 'node:events';
import type { Worker } from 'node:worker_threads';
import { startWorker } from '../process/index.ts';
import {
  EPOLLIN,
  EPOLLONESHOT,
  closeFd,
  createEpoll,
  createEventFd,
  epollAdd,
  epollRearm,
  epollRemove,
  signalEventFd,
} from '../kernel/index.ts';

/** Reports when descriptors become readable, without polling and without a thread of libuv's pool. */
export interface Reactor {
  /**
   * Calls back once, when the process behind `pidfd` has ended (at once if it already has). Returns
   * unsubscribe. The descriptor remains the caller's: unsubscribe first, then close it.
   */
  onExit(pidfd: number, callback: () => void): () => void;
  /**
   * Calls back once, when the process behind `pidfd` has also been reaped. From then on `pidfdInfo` returns
   * its exit code. This needs kernel 6.10. An older kernel calls back at the end of the process only if it is
   * already reaped.
   */
  onReaped(pidfd: number, callback: () => void): () => void;
  /**
   * Calls back whenever `fd` is readable, at its end or in error, and repeats this while the state lasts: the
   * callback reads until EAGAIN or unsubscribes. Never runs two callbacks at once. Returns unsubscribe. A
   * descriptor has one subscriber (KERNEL_EEXIST).
   */
  onReadable(fd: number, callback: () => void): () => void;
  /** Ends the Worker. No callback runs afterwards. The Worker alone does not keep the process alive. */
  close(): Promise<void>;
}

export interface ReactorData {
  readonly epoll: number;
}

/** The id of the eventfd that ends the Worker. */
export const WAKE = 0;

interface Subscription {
  readonly id: number;
  readonly fd: number;
  /** EPOLL* events to wait for. EPOLLHUP and EPOLLERR are always reported. */
  readonly events: number;
  readonly repeated: boolean;
  readonly callback: () => void;
}

const startAgainMs = 50;

/**
 * Starts the only Worker that waits in epoll. The calling thread subscribes directly in the kernel, so that
 * the blocked Worker needs no message. Each event disarms its descriptor (EPOLLONESHOT) until the callback
 * has run on the calling thread. A lost Worker is started again and every subscription is armed again, so
 * that events that happened in between are reported then.
 * @param onLost called with the reason of each loss
 */
export async function startReactor(onLost: (why: string) => void = () => undefined): Promise<Reactor> {
  const epoll = createEpoll();
  const wake = createEventFd();
  epollAdd(epoll, wake, EPOLLIN, WAKE);
  const subscriptions = new Map<number, Subscription>();
  const byFd = new Map<number, number>();
  let sequence = WAKE;

  // Node joins every Worker when it ends. A Worker that sleeps in the kernel must be woken before that.
  const wakeUp = (): void => signalEventFd(wake);
  process.on('exit', wakeUp);

  const forget = (subscription: Subscription): boolean => {
    if (byFd.get(subscription.fd) === subscription.id) byFd.delete(subscription.fd);
    return subscriptions.delete(subscription.id);
  };

  const subscribe = (fd: number, events: number, repeated: boolean, callback: () => void): (() => void) => {
    const subscription: Subscription = {
      id: ++sequence,
      fd,
      events: events | EPOLLONESHOT,
      repeated,
      callback,
    };
    epollAdd(epoll, fd, subscription.events, subscription.id);
    // The kernel reuses this number, so its previous owner closed it without unsubscribing.
    const stale = subscriptions.get(byFd.get(fd) ?? WAKE);
    if (stale !== undefined) forget(stale);
    subscriptions.set(subscription.id, subscription);
    byFd.set(fd, subscription.id);
    return () => {
      if (forget(subscription)) epollRemove(epoll, fd);
    };
  };

  const deliver = (id: number): void => {
    const subscription = subscriptions.get(id);
    if (subscription === undefined) return;
    const { fd, events, repeated, callback } = subscription;
    if (!repeated && forget(subscription)) epollRemove(epoll, fd);
    try {
      callback();
    } catch (error) {
      // An error in a callback is uncaught, as for any event, but the other events of this batch are
      // delivered first.
      queueMicrotask(() => {
        throw error;
      });
    }
    if (subscriptions.has(id) && !epollRearm(epoll, fd, events, id)) forget(subscription);
  };

  let closing: Promise<void> | undefined;
  let worker: Worker | undefined;
  let again: NodeJS.Timeout | undefined;
  let starting: Promise<void> | undefined;
  const start = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const started = startWorker(import.meta.url, './reactor.worker.ts', {
        workerData: { epoll } satisfies ReactorData,
      });
      let why = 'its thread has ended';
      let isReady = false;
      started.on('message', (message: 'ready' | number[]) => {
        if (message !== 'ready') return message.forEach(deliver);
        isReady = true;
        worker = started;
        // Call this after the listeners are added, because adding one holds the process.
        started.unref();
        resolve();
      });
      started.on('error', (cause) => (why = cause instanceof Error ? cause.message : String(cause)));
      started.on('exit', () => {
        if (worker === started) worker = undefined;
        reject(new Error(why));
        if (!isReady || closing !== undefined) return;
        onLost(why);
        startAgain();
      });
    });
  const startAgain = (): void => {
    again = setTimeout(() => {
      // An event that the lost Worker took but did not deliver is reported once more.
      starting = start().then(armAll, () => {
        if (closing === undefined) startAgain();
      });
    }, startAgainMs).unref();
  };
  const armAll = (): void => {
    for (const subscription of subscriptions.values())
      if (!epollRearm(epoll, subscription.fd, subscription.events, subscription.id)) forget(subscription);
  };
  await start();

  const close = async (): Promise<void> => {
    subscriptions.clear();
    byFd.clear();
    clearTimeout(again);
    process.off('exit', wakeUp);
    wakeUp();
    await starting;
    if (worker !== undefined) {
      worker.ref();
      await once(worker, 'exit');
    }
    closeFd(epoll);
    closeFd(wake);
  };
  return {
    onExit: (pidfd, callback) => subscribe(pidfd, EPOLLIN, false, callback),
    onReaped: (pidfd, callback) => subscribe(pidfd, 0, false, callback),
    onReadable: (fd, callback) => subscribe(fd, EPOLLIN, true, callback),
    close: () => (closing ??= close()),
  };
}
