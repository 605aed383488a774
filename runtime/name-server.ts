import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { startNameServer } from '../cni-plugins/index.ts';
import type { NameFigures, NameServer } from '../cni-plugins/index.ts';
import type { DaemonConfig } from './config/types.ts';
import { placeOf } from './kubernetes-connection.ts';

/** The name server of networks, as configured. Its thread runs only if there are names to answer. */
export interface DaemonNameServer {
  readonly start: () => void;
  /** Starts the server if a cluster's names are to be answered, or its address is left from before. */
  startForCluster(): void;
  /** Starts the server. Resolves when it answers, or when it cannot. */
  ready(): Promise<void>;
  /** Undefined while the server does not run. */
  readonly figures: () => Promise<NameFigures | undefined>;
  /** Stops the server; names are not answered afterwards. */
  close(): Promise<void>;
}

const startAgainMs = 2000;

export function openDaemonNameServer(
  { root, network: { dns, kubernetes } }: DaemonConfig,
  log: Logger,
): DaemonNameServer {
  let starting: Promise<NameServer | undefined> | undefined;
  let closed = false;
  const wrong = dns.upstreams.filter((address) => isIP(address) === 0);
  if (wrong.length > 0)
    log.warn({ wrong }, 'network.dns.upstreams accepts only addresses; these entries are ignored');
  const ofCluster = kubernetes?.dns;
  if (ofCluster !== undefined && !dns.enabled)
    log.warn({}, 'network.kubernetes.dns has no effect: network.dns.enabled is false');
  const cluster = ofCluster && { cluster: { ...ofCluster, place: placeOf(kubernetes) } };
  const start = (): void => {
    if (!dns.enabled || closed) return;
    const { ttl, upstreams, maxForwards } = dns;
    starting ??= startNameServer(
      { databasePath: join(root, 'network.db'), ttl, upstreams, maxForwards, ...cluster },
      log,
    ).catch((thrown: unknown) => {
      log.error(
        { why: reasonOf(thrown) },
        'the name server could not be started; names of networks are not answered',
      );
      starting = undefined;
      // Pods of the host's network namespace ask as well, and have no attachment that would start it again.
      if (ofCluster !== undefined && !closed) setTimeout(start, startAgainMs).unref();
      return undefined;
    });
  };
  return {
    start,
    startForCluster() {
      if (ofCluster !== undefined || existsSync(join(root, 'network.db.cluster-address'))) start();
    },
    async ready() {
      start();
      await starting;
    },
    figures: async () => (await starting)?.figures(),
    async close() {
      closed = true;
      await (await starting)?.close();
    },
  };
}
