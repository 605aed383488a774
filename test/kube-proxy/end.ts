import { once } from 'node:events';
import { Worker } from 'node:worker_threads';

/** An end of connections: a thread, in a network namespace of its own or in that of this process. */

export interface Target {
  readonly protocol: 'tcp' | 'udp';
  readonly address: string;
  readonly port: number;
}

/** Connections to one target, each from one of the source addresses. */
export interface Probe extends Target {
  readonly froms: readonly (string | undefined)[];
  readonly patienceMs: number;
}

/** `ENDPOINT:PORT SOURCE` of a connection that an endpoint answered, `dropped`, or an errno. */
export type Answer = string;

export type Order =
  | { readonly verb: 'serve'; readonly address: string; readonly ports: readonly number[] }
  | { readonly verb: 'probe'; readonly probes: readonly Probe[] }
  /** Opens flows that stay, and sends in each. */
  | { readonly verb: 'open'; readonly flows: readonly Probe[] }
  /** Sends in each open flow again. */
  | { readonly verb: 'ask'; readonly patienceMs: number }
  | { readonly verb: 'end' }
  | { readonly verb: 'get'; readonly address: string; readonly port: number };

export interface TestEnd {
  serve(address: string, ports: readonly number[]): Promise<void>;
  probe(probes: readonly Probe[]): Promise<readonly (readonly Answer[])[]>;
  open(flows: readonly Probe[]): Promise<readonly (readonly Answer[])[]>;
  ask(patienceMs: number): Promise<readonly (readonly Answer[])[]>;
  /** Closes the open flows. */
  end(): Promise<void>;
  /** Returns the status and the body of a response over HTTP, or an errno. */
  get(address: string, port: number): Promise<string>;
}

export async function openEnd(
  name: string,
  apart: boolean,
): Promise<{ readonly end: TestEnd; readonly thread: string }> {
  const worker = new Worker(new URL('./end.worker.ts', import.meta.url), { workerData: { name, apart } });
  const waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>();
  let orders = 0;
  const [{ thread }] = (await once(worker, 'message')) as [{ thread: string }];
  worker.on('message', ({ id, answer, failure }: { id: number; answer: unknown; failure?: string }) => {
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (failure === undefined) waiter?.resolve(answer);
    else waiter?.reject(new Error(`${name}: ${failure}`));
  });
  worker.on('error', (thrown) => waiting.forEach(({ reject }) => reject(thrown as Error)));
  const call = <T>(order: Order): Promise<T> => {
    orders += 1;
    const id = orders;
    const answer = new Promise<unknown>((resolve, reject) => waiting.set(id, { resolve, reject }));
    worker.postMessage({ id, order });
    return answer as Promise<T>;
  };
  return {
    thread,
    end: {
      serve: (address, ports) => call({ verb: 'serve', address, ports }),
      probe: (probes) => call({ verb: 'probe', probes }),
      open: (flows) => call({ verb: 'open', flows }),
      ask: (patienceMs) => call({ verb: 'ask', patienceMs }),
      end: () => call({ verb: 'end' }),
      get: (address, port) => call({ verb: 'get', address, port }),
    },
  };
}
