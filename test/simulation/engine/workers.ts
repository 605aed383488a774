import { reasonOf } from '../../../base/errors/index.ts';
import type { Incarnation } from './incarnation.ts';
import type { Report } from './history-events.ts';
import { thread } from './thread.ts';
import type { SimulatedThread } from './thread.ts';

/** A Worker of the daemon, with the members that its owners use. */
export interface SimulatedWorker {
  on(event: 'message' | 'error' | 'exit', listener: (value: never) => void): void;
  postMessage(message: unknown): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

/** The Worker's side of the message port. */
export interface SimulatedPort {
  on(event: 'message', listener: (message: unknown) => void): void;
  postMessage(message: unknown): void;
  close(): void;
}

/** Workers of one type, of one daemon after the other. */
export interface SimulatedWorkers {
  /** Starts a Worker. @param begin runs the code that the Worker's module runs when it is loaded */
  start(begin: (port: SimulatedPort) => void | Promise<void>): SimulatedWorker;
  /** Ends the Workers, as when they run out of memory. */
  lose(): void;
  /** Forgets the Workers of an earlier life. */
  forget(): void;
}

/**
 * @param name the name of the thread, for readers of the history
 * @param machine the machine on which they run now
 */
export function createWorkers(
  name: string,
  machine: () => { readonly life: Incarnation; readonly report: Report },
): SimulatedWorkers {
  let running = new Set<{ end(cause: unknown): void }>();

  const start: SimulatedWorkers['start'] = (begin) => {
    const { life, report } = machine();
    const listeners = new Map<string, (value: never) => void>();
    const emit = (event: string, value: unknown): void => listeners.get(event)?.(value as never);
    let hear: ((message: unknown) => void) | undefined;
    let hasEnded = false;
    // A port delivers its messages in order.
    let [inwards, outwards] = [Promise.resolve(), Promise.resolve()];
    const end = (cause?: unknown): void => {
      if (hasEnded) return;
      hasEnded = true;
      running.delete(own);
      if (cause !== undefined) report(`  the ${name} ends: ${reasonOf(cause)}`);
      outwards = outwards
        .then(() => life.message('the end of a thread'))
        .then(() =>
          thread.exit(() => {
            if (cause !== undefined) emit('error', cause);
            emit('exit', cause === undefined ? 0 : 1);
          }),
        );
    };
    const own = { end };
    running.add(own);
    const state: SimulatedThread = {
      // It ends with its daemon as well, whose code continues to its next turn.
      get hasEnded() {
        return hasEnded || !life.alive();
      },
      fail: end,
    };
    const port: SimulatedPort = {
      on: (_event, listener) => {
        hear = listener;
      },
      postMessage: (message) => {
        if (hasEnded) return;
        const copy: unknown = structuredClone(message);
        outwards = outwards
          .then(() => life.message('a message of the thread'))
          .then(() => thread.exit(() => emit('message', copy)));
      },
      close: () => end(),
    };
    inwards = life
      .act('spawn', `start of the ${name}`, () => undefined)
      .then(
        () => (hasEnded ? undefined : thread.run(state, () => begin(port))),
        (cause: unknown) => end(cause),
      );
    return {
      on: (event, listener) => void listeners.set(event, listener),
      postMessage: (message) => {
        const copy: unknown = structuredClone(message);
        inwards = inwards
          .then(() => life.message('a message to the thread'))
          .then(() => {
            if (!hasEnded) thread.run(state, () => hear?.(copy));
          });
      },
      ref: () => undefined,
      unref: () => undefined,
      terminate: () => {
        end();
        return Promise.resolve(1);
      },
    };
  };

  return {
    start,
    lose: () => {
      for (const one of running) one.end(new Error('simulated: the thread ran out of memory'));
    },
    forget: () => {
      running = new Set();
    },
  };
}
