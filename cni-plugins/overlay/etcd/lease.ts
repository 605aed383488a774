import { PortcullisError } from '../../../base/errors/index.ts';
import type { EtcdClient } from './client.ts';

export interface LeaseOptions {
  readonly client: EtcdClient;
  readonly seconds: number;
  /**
   * Writes the keys that live as long as the lease. Called for each new lease, and again until it succeeds.
   */
  readonly register: (lease: number) => Promise<void>;
  /** Called when the lease is held, for the first time or again after trouble. */
  readonly onHeld: () => void;
  /** Called with failures of the lease itself, and of `register`. */
  readonly onTrouble: (thrown: unknown) => void;
}

export interface HeldLease {
  /** Registers again, because the values have changed. */
  renew(): void;
  close(): void;
}

const retryMs = 1000;
const longestAnswerMs = 5000;

/**
 * Keeps a lease until `close`, with three keepalives per lease time. If a member does not answer, another
 * member is asked early enough before the lease ends. A lease that ended meanwhile, as after a partition, is
 * replaced, and everything is registered again. `close` lets the lease expire: if the host restarts before
 * that, other hosts notice nothing.
 */
export function holdLease({ client, seconds, register, onHeld, onTrouble }: LeaseOptions): HeldLease {
  const answerMs = Math.min(longestAnswerMs, (seconds * 1000) / 6);
  const againMs = Math.min(retryMs, (seconds * 1000) / 20);
  let closed = false;
  const isClosed = (): boolean => closed;
  let stale = false;
  let troubled = true;
  let wake = (): void => undefined;
  let lease: number | undefined;

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, ms).unref();
    });

  /** The values stay stale until they are registered. */
  const registerAgain = async (id: number): Promise<void> => {
    stale = false;
    try {
      await register(id);
    } catch (thrown) {
      stale = true;
      throw thrown;
    }
  };

  /** @returns whether the lease is still held; false: it ended */
  const keep = async (id: number): Promise<boolean> => {
    const stream = client.keepAlive();
    try {
      const answers = stream.answers[Symbol.asyncIterator]();
      for (;;) {
        stream.write({ id });
        const late = setTimeout(
          () => stream.abandon(`it did not keep the lease within ${Number((answerMs / 1000).toFixed(1))} s`),
          answerMs,
        );
        const answer = await answers.next().finally(() => clearTimeout(late));
        if (answer.done === true) throw unanswered();
        if (answer.value.ttl <= 0) return false;
        if (isClosed()) return true;
        if (stale) await registerAgain(id);
        if (troubled) {
          troubled = false;
          onHeld();
        }
        // The values changed meanwhile.
        if (!stale) await pause((seconds * 1000) / 3);
        if (isClosed()) return true;
      }
    } finally {
      stream.close();
    }
  };

  const run = async (): Promise<void> => {
    while (!isClosed()) {
      try {
        if (lease === undefined) {
          const granted = await client.grant(seconds);
          stale = false;
          await register(granted);
          lease = granted;
        }
        if (!(await keep(lease))) lease = undefined;
      } catch (thrown) {
        // The caller checks again: how much time passed is unknown.
        if (isClosed()) return;
        troubled = true;
        onTrouble(thrown);
        await pause(againMs * (0.5 + Math.random()));
      }
    }
  };
  void run();

  return {
    renew() {
      stale = true;
      wake();
    },
    close() {
      closed = true;
      wake();
    },
  };
}

function unanswered(): PortcullisError {
  return new PortcullisError({
    code: 'OVERLAY_ETCD_UNREACHABLE',
    kind: 'unavailable',
    attempted: 'keep the lease of this host',
    on: '',
    why: 'etcd did not answer',
    fix: 'check that etcd runs and has a leader; meanwhile pods continue to run',
  });
}
