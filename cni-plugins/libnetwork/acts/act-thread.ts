import { PortcullisError, errorFromJson, reasonOf } from '../../../base/errors/index.ts';
import type { SerialisedError } from '../../../base/errors/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import type { CnmActs } from './acts.ts';

/** {@link CnmActs} as seen from the main thread. */
export type ActsApart = {
  readonly [Act in keyof CnmActs]: CnmActs[Act] extends (...values: infer Values) => infer Value
    ? (...values: Values) => Promise<Value>
    : never;
};

export interface ActThread {
  readonly acts: ActsApart;
  close(): Promise<void>;
}

export interface ActSettings {
  /** The network's database. */
  readonly databasePath: string;
  /** The folder in which staging namespaces are pinned. */
  readonly folder: string;
}

export interface ActCall {
  readonly sequence: number;
  readonly act: keyof CnmActs;
  readonly values: readonly unknown[];
}

export type ActAnswer =
  | { readonly sequence: number; readonly value: unknown }
  | { readonly sequence: number; readonly error: SerialisedError };

/**
 * Starts the thread at the first act, and again after it was lost. A problem with the database is thrown by
 * the act.
 */
export function startActs(settings: ActSettings): ActThread {
  let current: Thread | undefined;
  let closed = false;
  const act = (name: keyof CnmActs, values: readonly unknown[]): Promise<unknown> => {
    if (closed) return Promise.reject(lost('the driver is closed'));
    const thread = current ?? startThread(settings, () => (current = undefined));
    current = thread;
    return thread.call(name, values);
  };
  const acts = new Proxy({} as ActsApart, {
    get:
      (_target, name) =>
      (...values: readonly unknown[]) =>
        act(name as keyof CnmActs, values),
  });
  return {
    acts,
    async close() {
      closed = true;
      await current?.stop();
    },
  };
}

interface Thread {
  call(act: keyof CnmActs, values: readonly unknown[]): Promise<unknown>;
  stop(): Promise<void>;
}

function startThread(settings: ActSettings, ended: () => void): Thread {
  const worker = startWorker(import.meta.url, './cnm.worker.ts', { workerData: settings });
  const waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  let sequence = 0;
  const end = (why: string): void => {
    ended();
    for (const { reject } of waiting.values()) reject(lost(why));
    waiting.clear();
  };
  worker.unref();
  worker.on('message', (answer: ActAnswer) => {
    const caller = waiting.get(answer.sequence);
    waiting.delete(answer.sequence);
    if (waiting.size === 0) worker.unref();
    if ('error' in answer) caller?.reject(errorFromJson(answer.error));
    else caller?.resolve(answer.value);
  });
  worker.on('error', (thrown) => end(reasonOf(thrown)));
  worker.on('exit', () => end('its thread ended'));
  return {
    call(act, values) {
      sequence += 1;
      const call: ActCall = { sequence, act, values };
      return new Promise((resolve, reject) => {
        waiting.set(call.sequence, { resolve, reject });
        worker.ref();
        worker.postMessage(call);
      });
    },
    async stop() {
      await worker.terminate();
    },
  };
}

function lost(why: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ENGINE_LOST',
    kind: 'unavailable',
    attempted: 'use the remote driver',
    on: '',
    why,
    fix: 'try again; see the log',
  });
}
