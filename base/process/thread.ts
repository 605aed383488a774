import type { Worker } from 'node:worker_threads';
import { PortcullisError, errorFromJson, reasonOf } from '../errors/index.ts';
import type { SerialisedError } from '../errors/index.ts';
import { createExchange } from './exchange.ts';
import type { Blame, Caller, ExchangeMessage, Offer } from './exchange.ts';
import type { OwnersOwn, ThreadsOwn } from './thread-messages.ts';

/** A Worker as its owner sees it: calls by name. It keeps the process alive while it opens, closes, or a call is under way. */
export interface Thread<Theirs extends Offer> extends Caller<Theirs> {
  /** Resolves when it is open. @throws what its opening threw, or that it is lost */
  readonly started: Promise<void>;
  /** Why it ended, when it has. */
  readonly ended: Promise<PortcullisError>;
  /** Resolves when it takes its turn. */
  ping(): Promise<void>;
  /** Refuses new calls; those under way have their answers, then it ends. One that is not yet open ends at once. */
  close(): Promise<void>;
}

export interface ThreadOptions {
  /** What the thread may call of its owner. */
  readonly offer?: Offer;
  /** What is said of calls to a thread that is lost. */
  readonly blame: Blame;
  /** Milliseconds that it may take to close before it is ended; absent: as long as it likes. */
  readonly closeMs?: number;
}

/** Calls the functions that a Worker offers by `serveThread`. */
export function connectThread<Theirs extends Offer>(worker: Worker, { offer = {}, blame, closeMs }: ThreadOptions): Thread<Theirs> {
  let isOpen = false;
  let isClosing = false;
  let isAsked = false;
  const opening = Promise.withResolvers<void>();
  const ending = Promise.withResolvers<PortcullisError>();
  // Who does not wait for it need not hear of it.
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
  // Answers given before it failed come by another port than the failure, and may come after it; Node gives all of them before the exit.
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
    call: (name, ...values) => (isClosing ? Promise.reject(gone('it is closed')) : exchange.call(name, ...values)),
    tell(name, ...values) {
      if (!isClosing) exchange.tell(name, ...values);
    },
    started: opening.promise,
    ended: ending.promise,
    ping: () => threads.call('.ping'),
    async close() {
      isClosing = true;
      hold();
      if (isOpen) threads.tell('.close');
      else void worker.terminate();
      const late = closeMs === undefined ? undefined : setTimeout(() => void worker.terminate(), closeMs);
      await ending.promise;
      clearTimeout(late);
    },
  };
}

export interface KeptThread<Theirs extends Offer> extends Caller<Theirs> {
  /** Of the first of its threads. @throws what its opening threw, or that it was lost */
  readonly started: Promise<void>;
  /** As that of a thread; no other is started. */
  close(): Promise<void>;
}

/**
 * A thread that is started again after it was lost. Calls under way at that moment fail, and so do those until it is started again:
 * with the reason of the loss.
 * @param start begins a Worker that serves by `serveThread`
 */
export function keepThread<Theirs extends Offer>(
  start: () => Worker,
  options: ThreadOptions & {
    /** Milliseconds from a loss to the next start. */
    readonly againMs: number;
    /** Told of a loss, once while its reason stays the same. */
    readonly onLost: (error: PortcullisError) => void;
  },
): KeptThread<Theirs> {
  let isClosed = false;
  let again: NodeJS.Timeout | undefined;
  let told = '';

  const run = (): Thread<Theirs> => {
    const thread = connectThread<Theirs>(start(), options);
    const lost = (error: PortcullisError): void => {
      if (isClosed) return;
      if (told !== error.message) options.onLost(error);
      told = error.message;
      again = setTimeout(() => (current = run()), options.againMs).unref();
    };
    thread.started.then(
      () => (told = ''),
      () => undefined,
    );
    void thread.ended.then(lost);
    return thread;
  };
  let current = run();

  return {
    call: (...given) => current.call(...given),
    tell: (...given) => current.tell(...given),
    started: current.started,
    async close() {
      isClosed = true;
      clearTimeout(again);
      await current.close();
    },
  };
}
