import { once } from 'node:events';
import { parentPort, workerData } from 'node:worker_threads';
import { attempt, errorToJson } from '../../../base/errors/index.ts';
import { diskIsFull, makingRoom as makingRoomIn, tendBallast } from '../../../base/storage/index.ts';
import { keepLedger } from '../../../base/kernel/index.ts';
import { collectWhenQuiet } from '../../../base/process/index.ts';
import { failureOf } from './call-failure.ts';
import { createLinkReaper } from './link-reaper.ts';
import type { NetworkCore } from '../pods/network-core.ts';
import { figuresOf } from '../../database/figures.ts';
import type { LinkCounts } from '../../database/figures.ts';
import { createNameReport } from './name-report.ts';
import { openParts } from './opened-parts.ts';
import type { OpenedParts } from './opened-parts.ts';
import { openPluginListener } from './plugin-listener.ts';
import type { PluginListener } from './plugin-listener.ts';
import { createPodResolver } from '../../database/pod-resolver.ts';
import { isWork } from './protocol.ts';
import type {
  Answer,
  Call,
  EngineWorkerData,
  FromWorker,
  OwnCall,
  ToWorker,
  WorkerSettings,
} from './protocol.ts';
import { openPolicySources } from './policy-sources.ts';
import { createRecentCalls } from './recent-calls.ts';
import { createThreadLog } from './thread-log.ts';
import { hasServices } from '../../services/control/has-services.ts';
import { attachmentOf } from '../../database/record.ts';
import type { LoadedNetwork } from '../../spec/conf-folder.ts';
import type { CniResult } from '../../spec/result.ts';
import type { LinkRepairs, PoliciesInForce } from '../../types.ts';

/**
 * The only thread that uses netlink. Every call is synchronous and serial, so that kernel, database and rules
 * change in one order. It stays in the daemon's own network namespace, except while it opens a socket inside
 * a pod's.
 */
const port = parentPort;
if (port === null) throw new Error('network.worker runs as a Worker');
const { ledger, settings: settingsPort } = workerData as EngineWorkerData;
keepLedger(ledger);
const [settings] = (await once(settingsPort, 'message')) as [WorkerSettings];
settingsPort.close();
const post = (message: FromWorker): void => port.postMessage(message);
const log = createThreadLog(post, settings.debug);

const ballast = settings.ballast && tendBallast(settings.ballast);
/** Operations that free something succeed on a full disk, too. */
const freeing: ReadonlySet<Call['do']> = new Set(['leave', 'left', 'gc', 'close']);
const makingRoom = <T>(act: () => T): T => makingRoomIn(ballast, act, parts?.database.room);
const spendingFor = <T>(call: Call, act: () => T): T => (freeing.has(call.do) ? makingRoom(act) : act());

// Opened before the first call, so that the policies apply to existing pods from the start.
const policies = settings.confDir === undefined ? undefined : await openPolicySources({ ...settings, log });

let parts: OpenedParts | undefined;
/** @param isStart whether the daemon is starting */
function open(isStart = false): OpenedParts {
  return (parts ??= openParts({ settings, policies, log, calls, isStart, followPolicies, reportNames }));
}

const followPolicies = policies?.onChange(() => {
  const { core, database } = parts ?? {};
  if (core === undefined || database === undefined) return 'not open';
  return database.exclusively(() => core.followPolicies()) ? 'applied' : 'in part';
});

const { reportNames } = createNameReport(() => post({ named: true }));

function openCore(): NetworkCore {
  const { core } = open();
  if (core === undefined) throw new Error('this engine serves plugin calls only');
  return core;
}

const calls = createRecentCalls();
const { reapLater, stop: stopReaping } = createLinkReaper({
  isOpen: () => parts?.core !== undefined,
  reap: (force, agedMs) =>
    makingRoom(() => parts?.database.exclusively(() => parts?.core?.reap(force, agedMs))) ?? 0,
  lastCallAt: calls.lastAt,
  log,
});

/** Answers as soon as the answer is certain. Work that no caller waits for follows under the same lock. */
function serve(sequence: number, call: Call): void {
  if (call.do === 'plugin' || call.do === 'check') {
    const report = (result: CniResult | undefined | void): void =>
      post({ sequence, answer: result === undefined ? {} : { result } });
    const { plugins } = open();
    const result = call.do === 'plugin' ? plugins.call(call.call) : plugins.check(call.calls);
    if (result instanceof Promise)
      void result.then(report).catch((thrown: unknown) => refuse(sequence, call, thrown));
    else report(result);
    return;
  }
  if (call.do === 'listen' || call.do === 'stop-listening') return serveListener(sequence, call);
  if (call.do === 'remote-records' || call.do === 'remote-write')
    return post({ sequence, answer: answerRemote(call) });
  // It opens nothing that `close` has closed.
  if (call.do === 'has-services')
    return post({
      sequence,
      answer: { hasServices: hasServices(settings.databasePath, call.folder, call.checkedFolders) },
    });
  const { database } = open(call.do === 'start');
  if (call.do === 'close') {
    const answer = spendingFor(call, () => database.exclusively(() => answerOwn(call)));
    ballast?.close();
    parts?.close();
    parts = undefined;
    return post({ sequence, answer });
  }
  database.exclusively(() => {
    try {
      post({ sequence, answer: spendingFor(call, () => answerOwn(call)) });
    } catch (thrown) {
      refuse(sequence, call, thrown);
    }
    finish();
  });
}

let listener: PluginListener | undefined;

function serveListener(sequence: number, call: Extract<Call, { do: 'listen' | 'stop-listening' }>): void {
  const answer = (): void => post({ sequence, answer: {} });
  if (call.do === 'stop-listening') return void (listener?.close() ?? Promise.resolve()).then(answer);
  const afterwards = (): void => {
    try {
      if (parts !== undefined) reportNames(parts.database);
    } catch (thrown) {
      log.warn({ why: String(thrown) }, 'the names of endpoints could not be read; it is tried again');
    }
    reapLater();
  };
  listener = openPluginListener({
    fd: call.fd,
    act(plugin) {
      calls.note();
      // The answer is sent first.
      setImmediate(afterwards);
      return open().plugins.call(plugin);
    },
    handOver: (connection) => post({ handedOver: connection }),
    log,
  });
  answer();
}

/** Reads and writes the requests to drivers of libnetwork. They do not affect the kernel. */
function answerRemote(call: Extract<Call, { do: 'remote-records' | 'remote-write' }>): Answer {
  const { hosts, remote } = open();
  if (call.do === 'remote-write') {
    remote.write(call.change);
    return {};
  }
  const { caller, network } = call;
  return hosts.with(caller, ({ namespaceId }) => {
    const records =
      network === undefined ? { networks: [], endpoints: [] } : remote.read(namespaceId, network);
    return { remote: { ...records, namespaceId, names: remote.networks(namespaceId) } };
  });
}

/** Pods that the last answered call detached. Their records stay `detaching` until this work is done. */
let detached: string[] = [];

function finish(): void {
  const ids = detached;
  detached = [];
  try {
    makingRoom(() => {
      ids.forEach(releaseConnections);
      parts?.core?.finish();
    });
  } catch (thrown) {
    log.warn(
      { why: String(thrown) },
      'the remaining work after a detach failed; the link is removed with its namespace',
    );
  }
}

function refuse(sequence: number, call: Call, thrown: unknown): void {
  post({ sequence, error: errorToJson(failureOf(call, thrown, settings.databasePath)) });
}

function loadedNetworks(): readonly LoadedNetwork[] {
  // The status reports what is wrong with the folder.
  return attempt(() => parts?.networks?.current().networks ?? []) ?? [];
}

/** Releases the connections that commands made for a pod that is gone. */
function releaseConnections(id: string): void {
  const { plugins, hosts } = open();
  plugins.release(hosts.own, id);
}

function collect(valid: ReadonlySet<string>, restoresAltered: boolean): LinkRepairs {
  const { plugins, hosts, links } = open();
  const repairs = openCore().gc(valid);
  plugins.repair(hosts.own);
  if (restoresAltered) links?.restoreAltered();
  const altered = links?.alterations().map(({ id }) => id) ?? [];
  return altered.length === 0 ? repairs : { ...repairs, altered };
}

const linkCounts = (): LinkCounts => {
  const { repairs, linksLost } = openCore();
  return {
    repairs: repairs(),
    linksLost: linksLost(),
    linksAltered: open().links?.alterations().length ?? 0,
  };
};

const policiesNow = (): PoliciesInForce => policies?.report() ?? { policies: 0, problems: [] };

/** Answers a call of our own runtime. */
function answerOwn(call: OwnCall): Answer {
  const core = openCore();
  const { database, namespaceId } = open();
  const all = (): Answer => ({ all: core.records().map(attachmentOf) });
  switch (call.do) {
    case 'start':
      return all();
    case 'attach': {
      if (parts?.database.room?.allowsMore() === false) throw diskIsFull('attach', settings.databasePath);
      const begun = core.attach(call.request);
      if (begun.stale !== undefined) return { stale: begun.stale };
      return begun.job === undefined ? { changed: [attachmentOf(begun.record)] } : { job: begun.job };
    }
    case 'joined':
      return { changed: [attachmentOf(core.joined(call.id, call.results))] };
    case 'leave': {
      const job = core.leave(call.id);
      if (job === undefined) detached.push(call.id);
      return { removed: call.id, ...(job !== undefined && { job }) };
    }
    case 'left':
      core.left(call.id);
      releaseConnections(call.id);
      return { removed: call.id };
    case 'ask-names': {
      const resolver = createPodResolver(database, namespaceId);
      return { nameServers: database.transaction(() => resolver.ask(call.id, call.network, call.upstreams)) };
    }
    case 'set-class':
      return { changed: [attachmentOf(core.setClass(call.id, call.class, call.rules))] };
    case 'figures':
      return {
        figures: {
          ...figuresOf(database, namespaceId, loadedNetworks(), linkCounts()),
          policies: policiesNow(),
        },
      };
    case 'denials':
      return { denials: core.denials() };
    case 'alterations':
      return { alterations: open().links?.alterations() ?? [] };
    case 'explain':
      return { explanation: core.explain(call.question) };
    case 'link-state': {
      const linkState = core.linkState(call.id);
      return linkState === undefined ? {} : { linkState };
    }
    case 'gc':
      for (const { id } of [...core.records(), ...core.damaged()])
        if (!call.valid.has(id)) releaseConnections(id);
      return {
        repairs: collect(call.valid, call.altered === true),
        ...all(),
        ...core.jobs(call.valid),
        networks: loadedNetworks(),
      };
    case 'status':
      return { status: { ...core.status(), policies: policiesNow() }, networks: loadedNetworks() };
    case 'close':
      core.reap(true);
      policies?.close();
      if (call.removeAll) core.removeAll();
      stopReaping();
      return {};
  }
}

port.on('message', (message: ToWorker) => {
  const { sequence, call } = message;
  const isFollowed = isWork(message);
  if (isFollowed) calls.note();
  try {
    serve(sequence, call);
    if (isFollowed && parts !== undefined) reportNames(parts.database);
  } catch (thrown) {
    refuse(sequence, call, thrown);
  }
  if (isFollowed) reapLater();
});
collectWhenQuiet(port, (message) => isWork(message as ToWorker));
