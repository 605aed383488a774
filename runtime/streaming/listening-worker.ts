import type { Worker } from 'node:worker_threads';
import { reasonOf } from '../../base/errors/index.ts';
import { readPlainFile } from '../../base/files/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { ExecScopes } from '../oci/exec-scope.ts';
import type { FromWorker, StreamingWorkerData, ToWorker } from './plan.ts';
import type { WorkerSessions } from './session-ledger.ts';

/** One Worker, from its start to its exit. The next one may start while this one ends. */
export interface ListeningWorker {
  readonly worker: Worker;
  /** The start of its URLs. */
  readonly base: string;
  /** Resolves when it has ended in any way. */
  readonly ended: Promise<void>;
}

export interface WorkerDeps {
  readonly options: {
    readonly address: string;
    readonly port: number;
    readonly tls: { readonly certFile: string; readonly keyFile: string };
    readonly idleTimeout: number;
    readonly maxSessions: number;
  };
  readonly scopes: ExecScopes;
  readonly socketFolder: string;
  /** Begins to count the sessions of a Worker. */
  readonly sessions: () => WorkerSessions;
  readonly log: Logger;
}

/** More than any bundle of certificates has. */
const mostPemBytes = 4 * 2 ** 20;

const pemIn = async (file: string): Promise<string> =>
  (await readPlainFile(file, mostPemBytes)).toString('utf8');

/**
 * Starts a Worker that serves streams. Resolves when it listens.
 * @param onExit called when the Worker has ended, even if it never listened
 * @throws when a file of the certificate cannot be read, or the Worker cannot listen
 */
export async function startListeningWorker(deps: WorkerDeps, onExit: () => void): Promise<ListeningWorker> {
  const { options, log } = deps;
  const { address, port, tls } = options;
  const secure = tls.certFile !== '';
  const data: StreamingWorkerData = {
    address,
    port,
    // Read at each start, so that a renewed certificate takes effect.
    ...(secure && { tls: { cert: await pemIn(tls.certFile), key: await pemIn(tls.keyFile) } }),
    idleTimeoutMs: options.idleTimeout * 1_000,
    maxSessions: options.maxSessions,
    scopes: deps.scopes,
    socketFolder: deps.socketFolder,
  };
  const worker = startWorker(import.meta.url, './streaming.worker.ts', { workerData: data });
  const sessions = deps.sessions();
  const listening = new Promise<number>((resolve, reject) => {
    worker.on('message', (message: FromWorker) => {
      if (message.type === 'listening') resolve(message.port);
      else if (message.type === 'failed') reject(new Error(message.why));
      else if (message.type === 'take') sendToWorker(worker, sessions.take(message));
      else sessions.ended(message);
    });
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the Worker has ended')));
  });
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
  worker.once('error', (cause) =>
    log.error({ cause: reasonOf(cause) }, 'the streaming Worker failed; its sessions are lost'),
  );
  worker.once('exit', () => {
    sessions.drop();
    onExit();
  });
  worker.unref();
  const bound = await listening;
  return { worker, ended, base: `${secure ? 'https' : 'http'}://${hostOf(address)}:${bound}` };
}

/** Sends a message to the Worker. */
export function sendToWorker(worker: Worker, message: ToWorker): void {
  worker.postMessage(message);
}

/** Returns an address that a client can connect to when the server listens on all addresses. */
function hostOf(address: string): string {
  if (address === '0.0.0.0' || address === '') return '127.0.0.1';
  if (address === '::') return '[::1]';
  return address.includes(':') ? `[${address}]` : address;
}
