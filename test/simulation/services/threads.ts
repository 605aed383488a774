import { reasonOf } from '../../../base/errors/index.ts';
import { serveThread } from '../../../base/process/index.ts';
import type { Blame } from '../../../base/process/index.ts';
import { thread } from '../thread.ts';
import type { SimulatedThread } from '../thread.ts';
import { servicesMachine } from './machine.ts';
import { setPort } from './stand-ins/worker-threads.ts';

/** A Worker of the daemon, as far as `connectThread` uses one. */
export interface SimulatedWorker {
  on(event: 'message' | 'error' | 'exit', listener: (value: never) => void): void;
  postMessage(message: unknown): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

/** What `services.worker.ts` serves: each of the Workers begins with it anew. */
let served: Parameters<typeof serveThread> | undefined;
let running = new Set<{ end(cause: unknown): void }>();

export function keepServed(blame: (call: string) => Blame, open: Parameters<typeof serveThread>[1]): Promise<void> {
  served = [blame, open];
  return Promise.resolve();
}

export function startSimulatedWorker(): SimulatedWorker {
  const { life, tell } = servicesMachine();
  const listeners = new Map<string, (value: never) => void>();
  const emit = (event: string, value: unknown): void => listeners.get(event)?.(value as never);
  let hear: ((message: unknown) => void) | undefined;
  let hasEnded = false;
  // A port hands over what it was given in its order.
  let [inwards, outwards] = [Promise.resolve(), Promise.resolve()];
  const end = (cause?: unknown): void => {
    if (hasEnded) return;
    hasEnded = true;
    running.delete(own);
    if (cause !== undefined) tell(`  the thread of services ends: ${reasonOf(cause)}`);
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
    // With its daemon as well, whose code goes on to its next turn.
    get hasEnded() {
      return hasEnded || !life.alive();
    },
    fail: end,
  };
  const port = {
    on: (_event: 'message', listener: (message: unknown) => void): void => {
      hear = listener;
    },
    postMessage: (message: unknown): void => {
      if (hasEnded) return;
      const copy: unknown = structuredClone(message);
      outwards = outwards.then(() => life.message('a message of the thread')).then(() => thread.exit(() => emit('message', copy)));
    },
    close: (): void => end(),
  };
  inwards = life
    .act('spawn', 'start of the thread of services', () => undefined)
    .then(
      () => {
        if (hasEnded || served === undefined) return;
        const [blame, open] = served;
        setPort(port);
        thread.run(state, () => void serveThread(blame, open));
      },
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
}

/** As when it runs out of memory. */
export function loseThreads(): void {
  for (const one of running) one.end(new Error('simulated: the thread ran out of memory'));
}

/** Those of an earlier life are gone. */
export function forgetThreads(): void {
  running = new Set();
}
