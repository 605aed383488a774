import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { engineLost } from './engine-thread.ts';
import type { EngineThread } from './engine-thread.ts';
import type { Answer, Call } from './protocol.ts';

/**
 * The engine's thread across its losses: the next call restarts a lost Worker, which reconciles before it
 * answers.
 */
export interface RestartedThread {
  /** Loads the thread if there is none. @throws NETWORK_ENGINE_LOST after `close` */
  start(): void;
  /** @throws NETWORK_ENGINE_LOST after `close`, or if the thread is lost before it answers */
  call(call: Call): Promise<Answer>;
  /** Stops the thread, if there is one, forever: the engine has not started. */
  stop(): Promise<void>;
  isClosed(): boolean;
  /** Stops the thread forever, after one last call. */
  close(last: Call): Promise<void>;
}

export interface RestartedThreadDeps {
  /** Starts a Worker. @param ended called once or more when it can no longer be called */
  readonly start: (ended: () => void) => EngineThread;
  /** The thread was lost; another one will start soon. */
  readonly lost: () => void;
  readonly log: Pick<Logger, 'warn'>;
}

/**
 * Pause between the loss of a thread and the start of the next one, unless a call starts it earlier. The
 * pause doubles with each thread that is lost at once.
 */
const firstPauseMs = 500;
const longestPauseMs = 60_000;

/** Starts no thread before the first call. */
export function createRestartedThread({ start, lost, log }: RestartedThreadDeps): RestartedThread {
  let thread: EngineThread | undefined;
  let closed = false;
  let losses = 0;

  /**
   * If a thread is lost after it answered a call whose work is not finished, the next thread finishes it,
   * even without another call.
   */
  const finishSoon = (): void => {
    const look = async (): Promise<void> => {
      if (closed) return;
      await current().call({ do: 'figures' });
      losses = 0;
    };
    const failed = (thrown: unknown): void =>
      log.warn(
        { why: reasonOf(thrown) },
        'the work of a lost network thread was not finished: the next request finishes it',
      );
    setTimeout(() => void look().catch(failed), Math.min(longestPauseMs, firstPauseMs * 2 ** losses)).unref();
    losses += 1;
  };

  const current = (): EngineThread => {
    if (closed) throw engineLost('the engine is closed', 'start a new one');
    if (thread !== undefined) return thread;
    const started = start(() => {
      if (thread !== started) return;
      thread = undefined;
      if (closed) return;
      lost();
      finishSoon();
    });
    thread = started;
    return started;
  };

  return {
    start: () => void current(),
    call: (call) => current().call(call),
    async stop() {
      // Otherwise the end of the thread would start another one, which finishes its work.
      closed = true;
      await thread?.stop();
    },
    isClosed: () => closed,
    async close(call) {
      const last = current();
      closed = true;
      try {
        await last.call(call);
      } finally {
        await last.stop();
      }
    },
  };
}
