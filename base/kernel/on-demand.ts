import { workerGone } from './worker-calls.ts';

interface Closable {
  close(): Promise<void>;
}

/** An object that is started at its first use and ended when it has been idle. */
export interface OnDemand<Thing extends Closable> {
  use<Result>(body: (thing: Thing) => Promise<Result>): Promise<Result>;
  /** Uses the object if it runs. This neither starts it nor keeps it running. */
  ask(body: (thing: Thing) => Promise<unknown>): Promise<void>;
  /** Ends the object unless it is in use. The next use starts another one. */
  rest(): void;
  /** Waits for running uses and ends the object. Later uses fail. */
  close(): Promise<void>;
}

/**
 * Starts an object by `start` when it is needed. Ends it `idleMs` after its last use, or when a use finds it
 * broken.
 */
export function onDemand<Thing extends Closable>(
  idleMs: number,
  start: () => Promise<Thing>,
): OnDemand<Thing> {
  let thing: Promise<Thing> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let uses = 0;
  let closed = false;
  const ending = new Set<Promise<void>>();

  const end = (): void => {
    clearTimeout(timer);
    const ended = thing?.then((started) => started.close()).catch(() => undefined);
    thing = undefined;
    if (ended === undefined) return;
    ending.add(ended);
    void ended.then(() => ending.delete(ended));
  };

  return {
    async use(body) {
      if (closed) throw workerGone('it was closed');
      clearTimeout(timer);
      uses += 1;
      const mine = (thing ??= start());
      try {
        return await body(await mine);
      } catch (error) {
        if ((error as { code?: unknown }).code === 'KERNEL_WORKER_GONE' && thing === mine) end();
        throw error;
      } finally {
        uses -= 1;
        if (uses === 0) timer = setTimeout(end, idleMs).unref();
      }
    },
    async ask(body) {
      const mine = thing;
      if (mine === undefined) return;
      try {
        await body(await mine);
      } catch (error) {
        // If the object was ended in the meantime, the next use starts another one.
        if (thing === mine) throw error;
      }
    },
    rest() {
      if (uses === 0) end();
    },
    async close() {
      closed = true;
      end();
      await Promise.all(ending);
    },
  };
}
