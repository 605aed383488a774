import type { LayerAnswer, LayerCommand } from '../../../runtime/images/layer-workers/protocol.ts';
import { thread } from '../engine/thread.ts';
import { machine } from './machine.ts';

/**
 * A Worker of the layer pool, with the members that the pool uses. All Workers run in the one thread of the
 * simulation.
 */
export interface SimulatedWorker {
  on(event: 'message' | 'error' | 'exit', listener: (value: never) => void): void;
  postMessage(command: LayerCommand): void;
  ref(): void;
  unref(): void;
  terminate(): Promise<number>;
}

interface Running extends SimulatedWorker {
  readonly hasEnded: boolean;
  hear(answer: LayerAnswer): void;
  /** Ends the Worker as a fault of the thread does. */
  end(): void;
}

/** The Worker's own code is loaded once: its jobs of all Workers have distinct numbers. */
const jobsOfWorker = 1_000_000;
const workers = new Map<number, Running>();
let serial = 0;
let handler: ((command: LayerCommand) => void) | undefined;

/** The end of the port that the Worker's code uses. */
export const port = {
  on: (_event: 'message', listener: (command: LayerCommand) => void): void => {
    handler = listener;
  },
  postMessage: (answer: LayerAnswer): void =>
    workers.get(Math.floor(answer.job / jobsOfWorker))?.hear(answer),
};

export function startSimulatedWorker(): SimulatedWorker {
  const { life } = machine();
  const number = (serial += 1);
  const listeners = new Map<string, (value: never) => void>();
  const state = { hasEnded: false };
  const emit = (event: string, value: unknown): void => listeners.get(event)?.(value as never);
  const worker: Running = {
    get hasEnded() {
      return state.hasEnded;
    },
    on: (event, listener) => void listeners.set(event, listener),
    postMessage: (command) =>
      void life.message('a message to a Worker').then(() => {
        if (!state.hasEnded)
          thread.run(state, () => handler?.({ ...command, job: number * jobsOfWorker + command.job }));
      }),
    hear: (answer) => {
      if (state.hasEnded) return;
      void thread.exit(() =>
        life.message('a message of a Worker').then(() => {
          if (!state.hasEnded) emit('message', { ...answer, job: answer.job % jobsOfWorker });
        }),
      );
    },
    end: () => {
      if (state.hasEnded) return;
      state.hasEnded = true;
      void life.message('the end of a Worker').then(() => emit('exit', 1));
    },
    ref: () => undefined,
    unref: () => undefined,
    terminate: () => {
      worker.end();
      return Promise.resolve(1);
    },
  };
  workers.set(number, worker);
  return worker;
}

/** Ends the Workers of the pool that live, as when each runs out of memory. */
export function loseWorkers(): void {
  for (const worker of workers.values()) worker.end();
}

/** Forgets the Workers of an earlier life. */
export function forgetWorkers(): void {
  workers.clear();
}
