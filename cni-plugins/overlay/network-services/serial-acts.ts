import { createSerialQueue } from '../../../base/queues/index.ts';

/** Runs acts one after the other. An act that fails does not stop the next one. */
export interface SerialActs {
  /** Runs the act after all earlier ones. @returns its result @throws its error */
  run<Value>(act: () => Promise<Value>): Promise<Value>;
  /** Runs the act after that time. Its error is ignored. */
  later(afterMs: number, act: () => Promise<unknown>): void;
  /** Drops the acts that wait for their time, and all later acts. */
  close(): void;
}

export function createSerialActs(): SerialActs {
  const timers = new Set<NodeJS.Timeout>();
  const run = createSerialQueue();
  let closed = false;
  return {
    run,
    later(afterMs, act) {
      if (closed) return;
      const timer = setTimeout(() => {
        timers.delete(timer);
        void run(act).catch(() => undefined);
      }, afterMs);
      timers.add(timer);
    },
    close() {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
