import type { Worker } from 'node:worker_threads';
import { PortcullisError, errorFromJson, reasonOf } from '../errors/index.ts';
import type { SerialisedError } from '../errors/index.ts';
import { createExchange } from './exchange.ts';
import type { Blame, Caller, ExchangeMessage, Offer } from './exchange.ts';
import type { OwnersOwn, ThreadsOwn } from './thread-messages.ts';

/**
 * A Worker from its owner's view: it is called by name. It keeps the process alive while it opens or closes,
 * or while a call is pending.
 */
export interface Thread<Theirs extends Offer> extends Caller<Theirs> {
  /**
   * Resolves when the thread is open. @throws the error of the opening, or an error when the thread is lost
   */
  readonly started: Promise<void>;
  /** Resolves with the reason when the thread has ended. */
  readonly ended: Promise<PortcullisError>;
  /** Resolves when the thread's event loop has handled it. */
  ping(): Promise<void>;
  /**
   * Refuses new calls. Pending calls get their answers, then the thread ends. A thread that is not open yet
   * ends at once.
   */
  close(): Promise<void>;
}

export interface ThreadOptions {
  /** The functions of its owner that the thread may call. */
  readonly offer?: Offer;
  /** Describes calls to a thread that is lost. */
  readonly blame: Blame;
  /** Milliseconds that the thread may take to close before it is terminated. Absent: no limit. */
  readonly closeMs?: number;
}

/** Calls the functions that a Worker offers with `serveThread`. */
export function connectThread<Theirs extends Offer>(
  worker: Worker,
  { offer = {}, blame, closeMs }: ThreadOptions,
): Thread<Theirs> {
  let isOpen = false;
  let isClosing = false;
  let isAsked = false;
  const opening = Promise.withResolvers<void>();
  const ending = Promise.withResolvers<PortcullisError>();
  // A caller that does not wait for the opening does not need to learn of its failure.
  opening.promise.catch(() => undefined);

  const own: OwnersOwn = {
    '.started': () => {
      isOpen = true;
      opening.resolve();
      hold();
    },
    '.failed': (error: SerialisedError) => {
      lose(errorFromJson(error));
      void worker.terminate();
    },
  };
  const exchange = createExchange<Theirs>({
    post: (message) => worker.postMessage(message),
    offer: { ...offer, ...own },
    blame: () => blame,
    onWaiting(isWaiting) {
      isAsked = isWaiting;
      hold();
    },
  });
  const hold = (): void => {
    if (isAsked || isClosing || !isOpen) worker.ref();
    else worker.unref();
  };
  const threads = exchange as unknown as Caller<ThreadsOwn>;
  let lost: PortcullisError | undefined;
  const lose = (error: PortcullisError): void => {
    lost ??= error;
    opening.reject(lost);
    exchange.lose(lost);
  };
  const gone = (why: string, cause?: unknown): PortcullisError =>
    new PortcullisError({ ...blame, why, ...(cause !== undefined && { cause }) });

  worker.on('message', (message: ExchangeMessage) => void exchange.hear(message));
  // Answers that the thread sent before it failed use another port than the failure, and may arrive after it.
  // Node delivers all of them before the exit.
  let failed: PortcullisError | undefined;
  worker.on('error', (thrown) => {
    failed = gone(`its thread failed: ${reasonOf(thrown)}`, thrown);
    if (!isOpen) lose(failed);
  });
  worker.on('exit', () => {
    lose(failed ?? gone('its thread has ended'));
    ending.resolve(lost ?? gone('its thread has ended'));
  });

  return {
    call: (name, ...values) =>
      isClosing ? Promise.reject(gone('it is closed')) : exchange.call(name, ...values),
    notify(name, ...values) {
      if (!isClosing) exchange.notify(name, ...values);
    },
    started: opening.promise,
    ended: ending.promise,
    ping: () => threads.call('.ping'),
    async close() {
      isClosing = true;
      hold();
      if (isOpen) threads.notify('.close');
      else void worker.terminate();
      const late = closeMs === undefined ? undefined : setTimeout(() => void worker.terminate(), closeMs);
      await ending.promise;
      clearTimeout(late);
    },
  };
}

export interface KeptThread<Theirs extends Offer> extends Caller<Theirs> {
  /** Resolves when the first thread is open. @throws the error of its opening, or an error when it is lost */
  readonly started: Promise<void>;
  /** Closes the thread like `Thread.close`. No other thread is started. */
  close(): Promise<void>;
}

/**
 * Keeps a thread running: starts it again after it is lost. Calls that are pending at the loss fail. Calls
 * that come before the next start fail too, with the reason of the loss.
 * @param start starts a Worker that serves with `serveThread`
 */
export function keepThread<Theirs extends Offer>(
  start: () => Worker,
  options: ThreadOptions & {
    /** Milliseconds from a loss to the next start. */
    readonly againMs: number;
    /** Called on a loss, once as long as its reason stays the same. */
    readonly onLost: (error: PortcullisError) => void;
  },
): KeptThread<Theirs> {
  let isClosed = false;
  let again: NodeJS.Timeout | undefined;
  let reported = '';

  const run = (): Thread<Theirs> => {
    const thread = connectThread<Theirs>(start(), options);
    const lost = (error: PortcullisError): void => {
      if (isClosed) return;
      if (reported !== error.message) options.onLost(error);
      reported = error.message;
      again = setTimeout(() => (current = run()), options.againMs).unref();
    };
    thread.started.then(
      () => (reported = ''),
      () => undefined,
    );
    void thread.ended.then(lost);
    return thread;
  };
  let current = run();

  return {
    call: (...given) => current.call(...given),
    notify: (...given) => current.notify(...given),
    started: current.started,
    async close() {
      isClosed = true;
      clearTimeout(again);
      await current.close();
    },
  };
}
