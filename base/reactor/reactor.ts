import {
  EPOLLIN,
  EPOLLONESHOT,
  closeFd,
  createEpoll,
  epollAdd,
  epollRearm,
  epollRemove,
  epollReady,
  watchInEventLoop,
} from '../kernel/index.ts';

/** Reports when descriptors become readable, without a thread. */
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
  /** No callback runs afterwards. A reactor alone does not keep the process alive. */
  close(): Promise<void>;
}

interface Subscription {
  readonly id: number;
  readonly fd: number;
  /** EPOLL* events to wait for. EPOLLHUP and EPOLLERR are always reported. */
  readonly events: number;
  readonly repeated: boolean;
  readonly callback: () => void;
}

/** The most events that one turn of the event loop delivers. The others follow in the next turn. */
const batch = 64;

/**
 * Watches an epoll instance in the event loop of the calling thread. Each event disarms its descriptor
 * (EPOLLONESHOT) until its callback has run.
 */
export async function startReactor(): Promise<Reactor> {
  const epoll = createEpoll();
  const subscriptions = new Map<number, Subscription>();
  const byFd = new Map<number, number>();
  let sequence = 0;

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
    const stale = subscriptions.get(byFd.get(fd) ?? 0);
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

  const unwatch = watchInEventLoop(epoll, () => epollReady(epoll, batch).forEach(deliver));
  // Node ends with its event loop, and a handle that is still open would be closed after it.
  process.on('exit', unwatch);

  let isClosed = false;
  const close = (): Promise<void> => {
    if (isClosed) return Promise.resolve();
    isClosed = true;
    subscriptions.clear();
    byFd.clear();
    process.off('exit', unwatch);
    unwatch();
    closeFd(epoll);
    return Promise.resolve();
  };
  return {
    onExit: (pidfd, callback) => subscribe(pidfd, EPOLLIN, false, callback),
    onReaped: (pidfd, callback) => subscribe(pidfd, 0, false, callback),
    onReadable: (fd, callback) => subscribe(fd, EPOLLIN, true, callback),
    close,
  };
}
