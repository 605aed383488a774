import { AsyncLocalStorage } from 'node:async_hooks';

/** A Worker of the simulated daemon. All Workers run in the one thread of the simulation. */
export interface SimulatedThread {
  readonly hasEnded: boolean;
  /** Called when it throws an error that no code catches. Absent: the simulation itself fails. */
  readonly fail?: (cause: unknown) => void;
}

/** The Worker whose code runs now; undefined: the main thread. */
export const thread = new AsyncLocalStorage<SimulatedThread>();

/** Returns an action that the Worker runs later, unless it has ended by then. */
export function ofThread(act: () => void): () => void {
  const own = thread.getStore();
  if (own === undefined) return act;
  return () => {
    if (own.hasEnded) return;
    thread.run(own, () => {
      try {
        act();
      } catch (cause) {
        if (own.fail === undefined) throw cause;
        own.fail(cause);
      }
    });
  };
}
