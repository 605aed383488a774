import { readFileSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { raiseThreadPriority } from '../../base/kernel/index.ts';
import { asPortcullisError, attempt, errorToJson, reasonOf } from '../../base/errors/index.ts';
import { openNetworkDatabase } from '../database/database.ts';
import { parseIp } from '../../base/addresses/index.ts';
import type { IpAddress } from '../../base/addresses/index.ts';
import { followClusterNames } from '../cluster-names/watch.ts';
import { openClusterListener } from './cluster-listener.ts';
import type { ClusterListener, ClusterListenerOptions } from './cluster-listener.ts';
import { keepOneAddress } from './node-address.ts';
import { createNameCounts } from './figures.ts';
import { createListeners } from './listeners.ts';
import { createNameTable } from './name-table.ts';
import type { FromNameServer, NameServerSettings, ToNameServer } from './protocol.ts';
import { nameserversIn } from './upstreams.ts';

/**
 * The thread that answers names. It stays in the daemon's own network namespace, except while it creates
 * sockets. It reads the network's database and never writes it.
 */
const port = parentPort;
if (port === null) throw new Error('name-server.worker runs as a Worker');
const settings = workerData as NameServerSettings;
const post = (message: FromNameServer): void => port.postMessage(message);
const log = {
  info: (fields: object, message: string) => post({ level: 'info', fields, message }),
  warn: (fields: object, message: string) => post({ level: 'warn', fields, message }),
};

/** A commit is written before it is visible, so the look happens a moment later. */
const settleMs = 3;
const lookEveryMs = 500;
const restEveryMs = 5000;

/**
 * Programs in a pod wait for names before anything else. But a client that floods us must not take the
 * machine from others.
 */
const priority = -10;

function start(): void {
  // Without CAP_SYS_NICE, names are answered at the usual priority.
  attempt(() => raiseThreadPriority(priority));
  const database = openNetworkDatabase(settings.databasePath);
  const table = createNameTable(database);
  const figures = createNameCounts();
  const upstreams = followUpstreams();
  const common = {
    table,
    upstreams: () => upstreams.current(),
    port: settings.port ?? 53,
    limits: {
      most: settings.maxForwards,
      mostOfAsker: Math.ceil(settings.maxForwards / 4),
      ...(settings.upstreamPort !== undefined && { port: settings.upstreamPort }),
    },
    figures,
    log,
  };
  const listeners = createListeners({ ...common, settings });
  const cluster = openCluster({ ...common, isGateway: listeners.isGateway });

  let followedAt = 0;
  const follow = (): void => {
    try {
      // A network may have changed its gateway. This is checked only now and then.
      const afresh = performance.now() - followedAt > restEveryMs;
      if (afresh) followedAt = performance.now();
      table.changed();
      listeners.follow(table.served(afresh));
    } catch (thrown) {
      log.warn(
        { why: reasonOf(thrown) },
        'the networks whose names are answered could not be read; retrying',
      );
    }
  };
  follow();
  const looking = setInterval(follow, lookEveryMs);
  const resting = setInterval(() => {
    upstreams.look();
    listeners.rest();
    cluster.rest();
  }, restEveryMs);
  // Written by any process that commits, including plugins without the daemon. The watch is valid as long as
  // our connection.
  let watching: FSWatcher | undefined;
  let settling: NodeJS.Timeout | undefined;
  const written = (): void => {
    settling ??= setTimeout(() => {
      settling = undefined;
      follow();
    }, settleMs);
  };
  try {
    watching = watch(`${settings.databasePath}-wal`, written);
    watching.on('error', () => watching?.close());
  } catch {
    // Without a watch, changes are looked for twice a second.
  }

  port?.on('message', (message: ToNameServer) => {
    if (message.do === 'figures') {
      const [own, ofCluster] = [listeners.counts(), cluster.counts()];
      return post({
        figures: figures.figures({
          listeners: own.listeners + ofCluster.listeners,
          closedListeners: own.closedListeners + ofCluster.closedListeners,
        }),
      });
    }
    clearInterval(looking);
    clearInterval(resting);
    clearTimeout(settling);
    watching?.close();
    listeners.close();
    database.close();
    void cluster.close().then(() => port.close());
  });
}

interface OpenCluster {
  rest(): void;
  counts(): ReturnType<ClusterListener['counts']>;
  close(): Promise<void>;
}

/** Answers the names of the cluster, if there is one, and removes what a former configuration left. */
function openCluster(common: Omit<ClusterListenerOptions, 'address' | 'names' | 'zone'>): OpenCluster {
  const address = settings.cluster && parseIp(settings.cluster.address);
  keepOneAddress(`${settings.databasePath}.cluster-address`, address, log);
  if (settings.cluster === undefined || address === undefined)
    return {
      rest: () => undefined,
      counts: () => ({ listeners: 0, closedListeners: 0 }),
      close: async () => undefined,
    };
  const { place, domain, podNames } = settings.cluster;
  const followed = followClusterNames({ place, log });
  const listener = openClusterListener({
    ...common,
    address,
    names: followed.names,
    zone: { domain, podNames, ttl: settings.ttl, address },
  });
  return {
    rest: listener.rest,
    counts: listener.counts,
    async close() {
      listener.close();
      await followed.close();
    },
  };
}

/** The node's name servers, from its resolv.conf. */
function followUpstreams(): { current(): readonly IpAddress[]; look(): void } {
  const fixed = settings.upstreams.flatMap((text) => parseIp(text) ?? []);
  const file = settings.resolvConf ?? '/etc/resolv.conf';
  let current: readonly IpAddress[] = fixed;
  const look = (): void => {
    if (fixed.length > 0) return;
    try {
      current = nameserversIn(readFileSync(file, 'utf8'));
    } catch {
      // The file is being replaced: its last content stays in force.
    }
  };
  look();
  return { current: () => current, look };
}

try {
  start();
  post({ started: true });
} catch (thrown) {
  const failure = {
    code: 'NETWORK_NAMES_FAILED',
    kind: 'internal',
    attempted: 'answer queries for the names of networks',
    on: settings.databasePath,
    fix: 'report this with the daemon log',
  } as const;
  post({ failed: errorToJson(asPortcullisError(thrown, failure)) });
}
