import { dirname, join } from 'node:path';
import type { Logger } from '../../base/log/index.ts';
import type { Ballast } from '../../base/storage/index.ts';
import type { Attachment, NetworkEngine } from '../types.ts';
import { createRemoteAttachments } from '../libnetwork/index.ts';
import type { RemoteAttachments } from '../libnetwork/index.ts';
import type { CheckedFolder } from '../followed-files/checked-folder.ts';
import type { ServePlugins } from '../calls/serving.types.ts';
import { zoneOf } from '../spec/domain.ts';
import { createChains } from '../cni/index.ts';
import type { ExecOptions } from '../cni/index.ts';
import { createJoining } from './joining.ts';
import { createEngineQuestions } from './engine-questions.ts';
import { engineLost, loadEngineThread, startEngineThread } from './thread/engine-thread.ts';
import type { EngineThreadLoader } from './thread/engine-thread.ts';
import { createListeningSide } from './listening.ts';
import type { ListeningSide } from './listening.ts';
import type { PolicyCluster } from '../policy/index.ts';
import type { NetworkChoice } from '../networks/networks.ts';
import type { CallPlugin, Caller, CheckPlugins } from '../calls/plugin-call.ts';
import { bareType } from '../calls/plugin-type.ts';
import type { Answer, Call, WorkerSettings } from './thread/protocol.ts';
import { createRestartedThread } from './thread/restarted-thread.ts';

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
  /** The cluster whose NetworkPolicies are followed, too. Absent: none. */
  readonly policyCluster?: PolicyCluster;
  /** Those folders that may be on a file system whose server is dead. Another component checks them. */
  readonly checkedFolders?: readonly CheckedFolder[];
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
  /** Loads the engine's threads. */
  readonly threads?: Pick<EngineThreadLoader, 'load'>;
}

/**
 * Starts the engine in the network namespace of this process, and brings the kernel to the recorded state:
 * removes what a killed process left half-created, and keeps existing attachments. Resolves when that is
 * done.
 * @throws NETWORK_KERNEL_<ERRNO> · NETWORK_NEWER_SCHEMA
 */
export async function createNetworkEngine(options: NetworkEngineOptions): Promise<NetworkEngine> {
  const attachments = createKnownAttachments();
  const log = options.log.child({ component: 'network' });
  const { threads = { load: loadEngineThread } } = options;
  const thread = createRestartedThread({
    start(ended) {
      return threads.load().begin(settingsOf(options, log), log, {
        ended,
        handedOver: (connection) => listening.take(connection),
        ...(options.onNamed !== undefined && { named: options.onNamed }),
      });
    },
    lost: () => listening.lost(),
    log,
  });
  const ask = async (call: Call): Promise<Answer> => attachments.learn(await thread.call(call));
  const remote = remoteAttachments(thread.call, options.databasePath, log);
  const { callPlugin } = remote;
  const checkPlugins = checkThrough(thread.call, callPlugin);
  const listening: ListeningSide = createListeningSide(async (call) => thread.call(call), callPlugin, log);
  const chains = createChains({
    callPlugin: (call) => callPlugin({ ...call, bound: true }),
    checkPlugins,
    binDirs: options.programs?.binDirs ?? [],
    ...(options.programs !== undefined && { programs: options.programs }),
    cacheDir: options.cacheDir ?? join(dirname(options.databasePath), 'cni'),
    log,
  });
  const joining = createJoining({ ask, chains, log });

  try {
    if (options.after !== undefined) thread.start();
    await options.after;
    await ask({ do: 'start' });
  } catch (thrown) {
    await thread.stop();
    throw thrown;
  }

  // Not awaited, because drivers may be slow, and their leftovers of dead attachments do not affect other
  // attachments.
  void remote.recover();

  return {
    async attach(request) {
      const attachment = await timed(options, 'attach', () => joining.attach(request));
      if (attachment === undefined)
        throw engineLost('the answer holds no attachment', 'report this with the daemon log');
      return attachment;
    },
    async detach(id) {
      attachments.forget(id);
      await timed(options, 'detach', () => joining.detach(id));
    },
    async setClass(id, linkClass, rules = {}) {
      await ask({ do: 'set-class', id, class: linkClass, rules });
    },
    async askNames(id, network, upstreams) {
      const { nameServers = [] } = await ask({ do: 'ask-names', id, network, upstreams });
      return { nameServers, search: zoneOf(network) };
    },
    ...createEngineQuestions(ask, joining),
    get: attachments.get,
    list: attachments.list,
    gc: (valid, collecting) => joining.gc(new Set(valid), collecting),
    callPlugin,
    checkPlugins,
    servePlugins: listening.servePlugins,
    async close({ removeAll }) {
      if (thread.isClosed()) return;
      await joining.settled();
      await thread.close({ do: 'close', removeAll });
    },
  };
}

function settingsOf(options: NetworkEngineOptions, log: Logger): WorkerSettings {
  return {
    databasePath: options.databasePath,
    ...(options.ballast && { ballast: options.ballast }),
    confDir: options.confDir,
    policyDir: options.policyDir ?? '',
    ...(options.policyCluster && { policyCluster: options.policyCluster }),
    ...(options.checkedFolders && { checkedFolders: options.checkedFolders }),
    debug: log.level === 'debug',
    ...(options.choice !== undefined && { choice: options.choice }),
  };
}

/** The attachments as the answers of the thread reported them. */
interface KnownAttachments {
  learn(answer: Answer): Answer;
  forget(id: string): void;
  get(id: string): Attachment | undefined;
  list(): readonly Attachment[];
}

function createKnownAttachments(): KnownAttachments {
  const attachments = new Map<string, Attachment>();
  return {
    learn(answer) {
      if (answer.all !== undefined) {
        attachments.clear();
        for (const attachment of answer.all) attachments.set(attachment.id, attachment);
      }
      for (const attachment of answer.changed ?? []) attachments.set(attachment.id, attachment);
      if (answer.removed !== undefined) attachments.delete(answer.removed);
      return answer;
    },
    forget: (id) => void attachments.delete(id),
    get: (id) => attachments.get(id),
    list: () => [...attachments.values()],
  };
}

async function timed<T>(
  { onAct }: Pick<NetworkEngineOptions, 'onAct'>,
  act: 'attach' | 'detach',
  body: () => Promise<T>,
): Promise<T> {
  const started = performance.now();
  let outcome: 'ok' | 'failed' = 'failed';
  try {
    const done = await body();
    outcome = 'ok';
    return done;
  } finally {
    onAct?.(act, outcome, (performance.now() - started) / 1000);
  }
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
  const log = options.log.child({ component: 'network' });
  const ask = (call: Call): Promise<Answer> => thread.call(call);
  const { callPlugin } = remoteAttachments(ask, options.databasePath, options.log);
  const listening = createListeningSide(ask, callPlugin, log);
  const thread = startEngineThread(
    { databasePath: options.databasePath, policyDir: '', debug: log.level === 'debug' },
    log,
    {
      ended: () => undefined,
      handedOver: (connection) => listening.take(connection),
    },
  );
  return {
    callPlugin,
    checkPlugins: checkThrough(ask, callPlugin),
    servePlugins: listening.servePlugins,
    close: () => thread.stop(),
  };
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
function remoteAttachments(
  ask: (call: Call) => Promise<Answer>,
  databasePath: string,
  log: Logger,
): RemoteAttachments {
  const records = async (caller: Caller, network?: string): Promise<NonNullable<Answer['remote']>> => {
    const { remote } = await ask({ do: 'remote-records', caller, ...(network !== undefined && { network }) });
    if (remote === undefined)
      throw engineLost('the answer holds no records', 'report this with the daemon log');
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
