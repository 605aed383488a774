import { MessageChannel } from 'node:worker_threads';
import type { Worker } from 'node:worker_threads';
import { PortcullisError, errorFromJson, reasonOf } from '../../../base/errors/index.ts';
import { closeLedger, newLedger } from '../../../base/kernel/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { startWorker } from '../../../base/process/index.ts';
import type { HandedOver } from '../../cni/index.ts';
import type { Answer, Call, EngineWorkerData, FromWorker, ToWorker, WorkerSettings } from './protocol.ts';

/** One Worker of the engine (`network.worker.ts`), from its start until it ends. */
export interface EngineThread {
  /** @throws NETWORK_ENGINE_LOST, and the errors of the call */
  call(call: Call): Promise<Answer>;
  stop(): Promise<void>;
}

export interface EngineThreadListener {
  /** The thread can no longer be called. Called once or more. */
  ended(): void;
  handedOver(connection: HandedOver): void;
  /** An endpoint has a name. */
  named?(): void;
}

/** A Worker whose code is loaded before its settings are known. */
export interface LoadedEngineThread {
  /**
   * Gives the thread its settings. It changes nothing before the first call. Reports an earlier end of the
   * thread in `log` and to `listener`.
   * @throws Error when it is called again
   */
  begin(settings: WorkerSettings, log: Logger, listener: EngineThreadListener): EngineThread;
  /** Ends a thread that may not have begun. */
  discard(): Promise<void>;
}

/** Starts the Worker, which waits for its settings when it has loaded its code. */
export function loadEngineThread(): LoadedEngineThread {
  const ledger = newLedger();
  // Not the Worker's own port: calls may be sent to that before the Worker has read its settings.
  const { port1, port2 } = new MessageChannel();
  const workerData: EngineWorkerData = { ledger, settings: port2 };
  const worker = startWorker(import.meta.url, './network.worker.ts', { workerData, transferList: [port2] });
  worker.unref();
  let ended: { readonly why: string } | undefined;
  let hasBegun = false;
  worker.on('error', (error) => (ended ??= { why: reasonOf(error) }));
  worker.on('exit', () => {
    port1.close();
    // Descriptors of a thread that was terminated during a call would keep the pods' network namespaces
    // alive.
    closeLedger(ledger);
    ended ??= { why: 'the network thread ended' };
  });
  return {
    begin(settings, log, listener) {
      if (hasBegun) throw new Error('this thread has its settings already');
      hasBegun = true;
      port1.postMessage(settings);
      return serveThread(worker, log, listener, ended?.why);
    },
    discard: async () => void (await worker.terminate()),
  };
}

/** Loads threads of the engine. The first one is loaded before an engine needs it. */
export interface EngineThreadLoader {
  /**
   * Returns the thread that is loaded already, and from the second call on a new one: a start of the engine
   * that failed, for example because the disk was full, can be tried again.
   */
  load(): LoadedEngineThread;
  /** Ends the thread that was loaded first, also when no engine uses it. */
  discard(): Promise<void>;
}

/** Loads a thread now, for the first engine that starts. */
export function loadEngineThreadEarly(): EngineThreadLoader {
  const first = loadEngineThread();
  let isTaken = false;
  return {
    load() {
      if (isTaken) return loadEngineThread();
      isTaken = true;
      return first;
    },
    discard: first.discard,
  };
}

/** Starts the Worker. It changes nothing before the first call. */
export function startEngineThread(
  settings: WorkerSettings,
  log: Logger,
  listener: EngineThreadListener,
): EngineThread {
  return loadEngineThread().begin(settings, log, listener);
}

/** @param endedBy why the Worker has already ended */
function serveThread(
  worker: Worker,
  log: Logger,
  listener: EngineThreadListener,
  endedBy: string | undefined,
): EngineThread {
  const waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  let sequence = 0;
  let idle = true;

  // The Worker keeps the process alive only while a caller waits for its answer.
  const balance = (): void => {
    if (idle === (waiting.size === 0)) return;
    idle = !idle;
    if (idle) worker.unref();
    else worker.ref();
  };

  let over: string | undefined;
  const end = (why: string): void => {
    over ??= why;
    listener.ended();
    for (const { reject } of waiting.values()) reject(engineLost(why, 'try again; see the daemon log'));
    waiting.clear();
  };
  worker.on('message', (message: FromWorker) => {
    if ('level' in message) return log[message.level](message.fields, message.message);
    if ('named' in message) return listener.named?.();
    if ('handedOver' in message) return listener.handedOver(message.handedOver);
    const caller = waiting.get(message.sequence);
    waiting.delete(message.sequence);
    balance();
    if ('answer' in message) caller?.resolve(message.answer);
    else caller?.reject(errorFromJson(message.error));
  });
  worker.on('error', (error) => {
    log.error({ why: reasonOf(error) }, 'the network thread failed');
    end(reasonOf(error));
  });
  worker.on('exit', () => end('the network thread ended'));
  if (endedBy !== undefined) {
    log.error({ why: endedBy }, 'the network thread failed');
    over = endedBy;
    // The caller must receive this thread first.
    setImmediate(() => end(endedBy));
  }

  return {
    call(call) {
      sequence += 1;
      const message: ToWorker = { sequence, call };
      return new Promise((resolve, reject) => {
        if (over !== undefined) return reject(engineLost(over, 'try again; see the daemon log'));
        waiting.set(message.sequence, { resolve, reject });
        balance();
        worker.postMessage(message);
      });
    },
    async stop() {
      await worker.terminate();
    },
  };
}

/** Returns the error of a call whose thread is gone, or whose answer cannot be used. */
export function engineLost(why: string, fix: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_ENGINE_LOST',
    kind: 'unavailable',
    attempted: 'use the network engine',
    on: '',
    why,
    fix,
  });
}
