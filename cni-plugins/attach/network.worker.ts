import { parentPort, workerData } from 'node:worker_threads';
import { asPortcullisError, errorToJson } from '../../base/errors/index.ts';
import { openHostKernel } from './host-kernel.ts';
import { createNetworkCore } from './network-core.ts';
import type { NetworkCore } from './network-core.ts';
import type { Answer, Call, FromWorker, ToWorker, WorkerSettings } from './protocol.ts';
import { attachmentOf } from './record.ts';
import { openNetworkStore } from './store.ts';

/**
 * The one thread that speaks netlink. Every call is synchronous and serial, so that kernel, database and rules change in one order.
 * It stays in the daemon's own network namespace, but for the windows in which a socket is made inside a pod's.
 */
const port = parentPort;
if (port === null) throw new Error('network.worker runs as a Worker');
const settings = workerData as WorkerSettings;
const post = (message: FromWorker): void => port.postMessage(message);
const log = {
  info: (fields: object, message: string) => post({ level: 'info', fields, message }),
  warn: (fields: object, message: string) => post({ level: 'warn', fields, message }),
};

let parts: { readonly core: NetworkCore; close(): void } | undefined;
function open(): NetworkCore {
  if (parts !== undefined) return parts.core;
  const store = openNetworkStore(settings.databasePath);
  try {
    const kernel = openHostKernel();
    const core = createNetworkCore({ store, kernel, confDir: settings.confDir, log });
    const close = (): void => {
      kernel.close();
      store.close();
    };
    core.reconcile();
    parts = { core, close };
    return core;
  } catch (thrown) {
    store.close();
    throw thrown;
  }
}

// The kernel destroys a link by itself soon after its namespace has gone: it is only watched. One that stays longer than this
// is deleted, which takes tens of milliseconds; so not in the middle of other work, unless it stays much longer.
const graceMs = 200;
const patienceMs = 1000;
const reapEveryMs = 10;
let waitingSince: number | undefined;
let lastCall = 0;
let timer: NodeJS.Timeout | undefined;

function reapLater(): void {
  if (parts === undefined || timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    const now = performance.now();
    waitingSince ??= now;
    const quiet = now - lastCall > graceMs / 4;
    const force = now - waitingSince > patienceMs || (now - waitingSince > graceMs && quiet);
    try {
      if ((parts?.core.reap(force) ?? 0) > 0) reapLater();
      else waitingSince = undefined;
      if (force) waitingSince = undefined;
    } catch (thrown) {
      log.warn({ why: String(thrown) }, 'a detached link could not be deleted; it is tried again');
      reapLater();
    }
  }, reapEveryMs);
}

function answer(call: Call): Answer {
  const core = open();
  const all = (): Answer => ({ all: core.records().map(attachmentOf) });
  switch (call.do) {
    case 'start':
      return all();
    case 'attach':
      return { changed: [attachmentOf(core.attach(call.request))] };
    case 'detach':
      core.detach(call.id);
      return { removed: call.id };
    case 'set-class':
      return { changed: [attachmentOf(core.setClass(call.id, call.class))] };
    case 'gc':
      core.gc(call.valid);
      return all();
    case 'status':
      return { status: core.status() };
    case 'close':
      core.reap(true);
      if (call.removeAll) core.removeAll();
      clearTimeout(timer);
      parts?.close();
      parts = undefined;
      return {};
  }
}

port.on('message', ({ sequence, call }: ToWorker) => {
  lastCall = performance.now();
  try {
    post({ sequence, answer: answer(call) });
  } catch (thrown) {
    const failure = {
      code: 'NETWORK_INTERNAL',
      kind: 'internal',
      attempted: `network ${call.do}`,
      on: 'id' in call ? call.id : '',
      fix: 'report this with the daemon log',
    } as const;
    post({ sequence, error: errorToJson(asPortcullisError(thrown, failure)) });
  }
  if (call.do !== 'close') reapLater();
});
