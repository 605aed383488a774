import { isPortcullisError, reasonOf } from '../../base/errors/index.ts';
import type { AgentLog } from './agent-log.ts';
import type { OverlayStatus } from './protocol.ts';
import type { ThisHost } from './this-host.ts';

/** The two connections to etcd. */
export type EtcdConnection = 'lease' | 'watch';

/** Tracks which connections to etcd work. Changes are logged. */
export interface EtcdPresence {
  back(connection: EtcdConnection): void;
  away(connection: EtcdConnection, thrown: unknown): void;
  works(connection: EtcdConnection): boolean;
  readonly state: OverlayStatus['state'];
  /** Why one of them does not work. */
  readonly trouble: string | undefined;
}

export function createEtcdPresence(thisHost: Pick<ThisHost, 'own'>, log: AgentLog): EtcdPresence {
  const here = { lease: false, watch: false };
  let heard = false;
  let trouble: string | undefined;
  return {
    back(connection) {
      here[connection] = true;
      if (!here.lease || !here.watch) return;
      const { subnets, record } = thisHost.own;
      if (!heard || trouble !== undefined)
        log.info({ subnets, underlay: record.underlay }, 'this host is in the overlay');
      heard = true;
      trouble = undefined;
    },
    away(connection, thrown) {
      here[connection] = false;
      const why = reasonOf(thrown);
      if (trouble !== why)
        log.warn(
          { why, ...(isPortcullisError(thrown) && { code: thrown.code }) },
          'etcd cannot be reached, or refuses this host; existing networks continue to work',
        );
      trouble = why;
    },
    works: (connection) => here[connection],
    get state() {
      return here.lease && here.watch ? 'connected' : heard ? 'away' : 'joining';
    },
    get trouble() {
      return trouble;
    },
  };
}
