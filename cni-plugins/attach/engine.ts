import { dirname, join } from 'node:path';
import type { Worker } from 'node:worker_threads';
import { PortcullisError, errorFromJson, reasonOf } from '../../base/errors/index.ts';
import { closeLedger, newLedger } from '../../base/kernel/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { startWorker } from '../../base/process/index.ts';
import type { Ballast } from '../../base/storage/index.ts';
import type { Attachment, NetworkEngine } from '../types.ts';
import { createRemoteAttachments } from '../cnm-client/attachments.ts';
import type { RemoteAttachments } from '../cnm-client/attachments.ts';
import type { GatedFolder } from '../followed-files/folder-gate.ts';
import type { ServePlugins } from '../serve/serving.types.ts';
import type { HandedOver } from '../serve/plugin-service.ts';
import { zoneOf } from '../spec/domain.ts';
import { createChains } from '../invoke/chains.ts';
import type { ExecOptions } from '../invoke/exec-step.ts';
import { createJoining } from '../invoke/joining.ts';
import { createListeningSide } from './listening.ts';
import type { ListeningSide } from './listening.ts';
import type { NetworkChoice } from './networks.ts';
import type { CallPlugin, Caller, CheckPlugins } from './plugin-call.ts';
import { bareType } from './plugin-type.ts';
import type { Answer, Call, FromWorker, ToWorker, WorkerSettings } from './protocol.ts';

export interface NetworkEngineOptions {
  /** The network's own SQLite database. Its folder is created (0700). */
  readonly databasePath: string;
  /**
   * A file beside the database that another component fills. It is the space that a detach may use on a full
   * disk.
   */
  readonly ballast?: Ballast;
  /** CNI configuration, read again whenever it changes. It may be missing or empty; then nothing attaches. */
  readonly confDir: string;
  /**
   * Folder of NetworkPolicies and namespaces, followed while the engine runs. The folder may be missing.
   * Absent: there are no policies.
   */
  readonly policyDir?: string;
  /**
   * Gates of those folders that may be on a file system whose server is dead. Another component maintains
   * them.
   */
  readonly gates?: readonly GatedFolder[];
  readonly log: Logger;
  /** Absent: one network, created in this process if all its plugins are ours. */
  readonly choice?: NetworkChoice;
  /** How third-party plugins are started. Absent: networks that need them are refused. */
  readonly programs?: ExecOptions;
  /** Folder in which results are stored as libcni stores them. Absent: beside the database. */
  readonly cacheDir?: string;
  /**
   * Called once for each thread when an endpoint of any origin has a name, so that a name server is needed.
   */
  readonly onNamed?: () => void;
  /** Receives the duration of each attach and detach. */
  readonly onAct?: (act: 'attach' | 'detach', outcome: 'ok' | 'failed', seconds: number) => void;
  /**
   * The thread is loaded at once, but changes nothing before this promise resolves. If it rejects, the engine
   * fails to start with that reason.
   */
  readonly after?: Promise<unknown>;
}

interface Thread {
  call(call: Call): Promise<Answer>;
  stop(): Promise<void>;
}

/**
 * Pause between the loss of a thread and the start of the next one, unless a call starts it earlier. The
 * pause doubles with each thread that is lost at once.
 */
const firstPauseMs = 500;
const longestPauseMs = 60_000;

/**
 * Starts the engine in the network namespace of this process, and brings the kernel to the recorded state:
 * removes what a killed process left half-created, and keeps existing attachments. Resolves when that is
 * done.
 * @throws NETWORK_KERNEL_<ERRNO> · NETWORK_NEWER_SCHEMA
 */
export async function createNetworkEngine(options: NetworkEngineOptions): Promise<NetworkEngine> {
  const attachments = new Map<string, Attachment>();
  const log = options.log.child({ room: 'network' });
  let thread: Thread | undefined;
  let closed = false;

  const learn = (answer: Answer): Answer => {
    if (answer.all !== undefined) {
      attachments.clear();
      for (const attachment of answer.all) attachments.set(attachment.id, attachment);
    }
    for (const attachment of answer.changed ?? []) attachments.set(attachment.id, attachment);
    if (answer.removed !== undefined) attachments.delete(answer.removed);
    return answer;
  };

  let losses = 0;
  /**
   * If a thread is lost after it answered a call whose work is not finished, the next thread finishes it,
   * even without another call.
   */
  const finishSoon = (): void => {
    const look = async (): Promise<void> => {
      if (closed) return;
      await ask({ do: 'figures' });
      losses = 0;
    };
    const failed = (thrown: unknown): void =>
      log.warn({ why: reasonOf(thrown) }, 'the work of a lost network thread was not finished: the next request finishes it');
    setTimeout(() => void look().catch(failed), Math.min(longestPauseMs, firstPauseMs * 2 ** losses)).unref();
    losses += 1;
  };

  /** The next call restarts a lost Worker, which reconciles before it answers. */
  const current = (): Thread => {
    if (closed) throw lost('the engine is closed', 'start a new one');
    if (thread !== undefined) return thread;
    const started = startThread(
      {
        databasePath: options.databasePath,
        ...(options.ballast && { ballast: options.ballast }),
        confDir: options.confDir,
        policyDir: options.policyDir ?? '',
        ...(options.gates && { gates: options.gates }),
        debug: log.level === 'debug',
        ...(options.choice !== undefined && { choice: options.choice }),
      },
      log,
      {
        ended: () => {
          if (thread !== started) return;
          thread = undefined;
          if (closed) return;
          listening.lost();
          finishSoon();
        },
        handedOver: (connection) => listening.take(connection),
        ...(options.onNamed !== undefined && { named: options.onNamed }),
      },
    );
    thread = started;
    return started;
  };
  const ask = async (call: Call): Promise<Answer> => learn(await current().call(call));

  const timed = async <T>(act: 'attach' | 'detach', body: () => Promise<T>): Promise<T> => {
    const started = performance.now();
    let outcome: 'ok' | 'failed' = 'failed';
    try {
      const done = await body();
      outcome = 'ok';
      return done;
    } finally {
      options.onAct?.(act, outcome, (performance.now() - started) / 1000);
    }
  };
  const remote = remoteAttachments((call) => current().call(call), options.databasePath, log);
  const { callPlugin } = remote;
  const checkPlugins = checkThrough((call) => current().call(call), callPlugin);
  const listening: ListeningSide = createListeningSide(async (call) => current().call(call), callPlugin, log);
  const binDirs = options.programs?.binDirs ?? [];
  const chains = createChains({
    callPlugin: (call) => callPlugin({ ...call, bound: true }),
    checkPlugins,
    binDirs,
    ...(options.programs !== undefined && { programs: options.programs }),
    cacheDir: options.cacheDir ?? join(dirname(options.databasePath), 'cni'),
    log,
  });
  const joining = createJoining({ ask, chains, log });

  try {
    if (options.after !== undefined) current();
    await options.after;
    await ask({ do: 'start' });
  } catch (thrown) {
    await thread?.stop();
    throw thrown;
  }

  // Not awaited, because drivers may take their time, and what they hold for dead attachments does not
  // disturb others.
  void remote.recover();

  return {
    async attach(request) {
      const attachment = await timed('attach', () => joining.attach(request));
      if (attachment === undefined) throw lost('the answer holds no attachment', 'report this with the daemon log');
      return attachment;
    },
    async detach(id) {
      attachments.delete(id);
      await timed('detach', () => joining.detach(id));
    },
    async setClass(id, linkClass, rules = {}) {
      await ask({ do: 'set-class', id, class: linkClass, rules });
    },
    async askNames(id, network, upstreams) {
      const { nameServers = [] } = await ask({ do: 'ask-names', id, network, upstreams });
      return { nameServers, search: zoneOf(network) };
    },
    denials: async () => (await ask({ do: 'denials' })).denials ?? [],
    async explain(question) {
      const { explanation } = await ask({ do: 'explain', question });
      if (explanation === undefined) throw lost('the answer holds no explanation', 'report this with the daemon log');
      return explanation;
    },
    figures: async () =>
      (await ask({ do: 'figures' })).figures ?? {
        attachments: [],
        leases: [],
        repairs: 0,
        linksLost: 0,
        linksAltered: 0,
        policies: { policies: 0, problems: [] },
      },
    linkState: async (id) => (await ask({ do: 'link-state', id })).linkState,
    get: (id) => attachments.get(id),
    list: () => [...attachments.values()],
    gc: (valid, collecting) => joining.gc(new Set(valid), collecting),
    alterations: async () => (await ask({ do: 'alterations' })).alterations ?? [],
    callPlugin,
    checkPlugins,
    servePlugins: listening.servePlugins,
    async status() {
      try {
        const status = await joining.status();
        if (status !== undefined) return status;
        throw lost('the answer holds no status', 'report this with the daemon log');
      } catch (thrown) {
        return {
          ready: false,
          reason: 'NetworkEngineFailed',
          message: thrown instanceof Error ? thrown.message : String(thrown),
          networks: [],
        };
      }
    },
    async close({ removeAll }) {
      if (closed) return;
      await joining.settled();
      const last = current();
      closed = true;
      try {
        await last.call({ do: 'close', removeAll });
      } finally {
        await last.stop();
      }
    },
  };
}

/**
 * The engine for CNI plugins alone, in a short-lived process: on the same database, beside a daemon or
 * without one.
 */
export interface PluginEngine {
  readonly callPlugin: CallPlugin;
  readonly checkPlugins: CheckPlugins;
  /** Serves the processes of plugins as the daemon does. */
  readonly servePlugins: ServePlugins;
  close(): Promise<void>;
}

/** Opens the engine. Never throws: the first call throws the problems of database and kernel. */
export function openPluginEngine(options: Pick<NetworkEngineOptions, 'databasePath' | 'log'>): PluginEngine {
  const log = options.log.child({ room: 'network' });
  const ask = (call: Call): Promise<Answer> => thread.call(call);
  const { callPlugin } = remoteAttachments(ask, options.databasePath, options.log);
  const listening = createListeningSide(ask, callPlugin, log);
  const thread = startThread({ databasePath: options.databasePath, policyDir: '', debug: log.level === 'debug' }, log, {
    ended: () => undefined,
    handedOver: (connection) => listening.take(connection),
  });
  return { callPlugin, checkPlugins: checkThrough(ask, callPlugin), servePlugins: listening.servePlugins, close: () => thread.stop() };
}

/**
 * Checks one call after the other if a driver of libnetwork is involved, because those calls do not run in
 * the engine's thread.
 */
function checkThrough(ask: (call: Call) => Promise<Answer>, callPlugin: CallPlugin): CheckPlugins {
  return async (calls) => {
    if (!calls.some(({ type }) => bareType(type) === 'cnm')) return void (await ask({ do: 'check', calls }));
    for (const call of calls) await callPlugin(call);
  };
}

/** Runs calls of `portcullis-cnm` here, so that they do not wait for drivers in the engine's thread. */
function remoteAttachments(ask: (call: Call) => Promise<Answer>, databasePath: string, log: Logger): RemoteAttachments {
  const records = async (caller: Caller, network?: string): Promise<NonNullable<Answer['remote']>> => {
    const { remote } = await ask({ do: 'remote-records', caller, ...(network !== undefined && { network }) });
    if (remote === undefined) throw lost('the answer holds no records', 'report this with the daemon log');
    return remote;
  };
  return createRemoteAttachments({
    engine: {
      callPlugin: async (call) => (await ask({ do: 'plugin', call })).result,
      records,
      networks: async () => (await records({})).names,
      write: async (change) => void (await ask({ do: 'remote-write', change })),
    },
    lockFolder: join(dirname(databasePath), 'cnm'),
    log,
  });
}

interface ThreadListener {
  /** The thread can no longer be called. Called once or more. */
  ended(): void;
  handedOver(connection: HandedOver): void;
  /** An endpoint has a name. */
  named?(): void;
}

function startThread(options: Omit<WorkerSettings, 'ledger'>, log: Logger, listener: ThreadListener): Thread {
  const ledger = newLedger();
  const settings: WorkerSettings = { ...options, ledger };
  const worker: Worker = startWorker(import.meta.url, './network.worker.ts', { workerData: settings });
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
  worker.unref();

  let over: string | undefined;
  const end = (why: string): void => {
    over ??= why;
    listener.ended();
    for (const { reject } of waiting.values()) reject(lost(why, 'try again; see the daemon log'));
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
  worker.on('exit', () => {
    // Descriptors of a thread that was terminated during a call would keep the pods' network namespaces
    // alive.
    closeLedger(ledger);
    end('the network thread ended');
  });

  return {
    call(call) {
      sequence += 1;
      const message: ToWorker = { sequence, call };
      return new Promise((resolve, reject) => {
        if (over !== undefined) return reject(lost(over, 'try again; see the daemon log'));
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

function lost(why: string, fix: string): PortcullisError {
  return new PortcullisError({ code: 'NETWORK_ENGINE_LOST', kind: 'unavailable', attempted: 'use the network engine', on: '', why, fix });
}
