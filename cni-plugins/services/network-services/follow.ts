import { reasonOf } from '../../../base/errors/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { watchCommits } from '../../database/commits.ts';
import { createOtherCommits } from '../../database/other-commits.ts';
import { openNetworkDatabase } from '../../database/database.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { NetworkServicesAgent, AgentDeps } from './agent.ts';
import { anyMembers } from './members.ts';

/**
 * Follows which members join and leave services of networks, through the daemon or through plugins without
 * it, until it is closed.
 */
export interface NetworkServices {
  /** Nothing changes after it has resolved. */
  close(): Promise<void>;
}

export interface FollowDeps extends Omit<AgentDeps, 'database' | 'log'> {
  readonly databasePath: string;
  /** The connection of the services themselves. What they write changes no membership. */
  readonly ofServices: Pick<NetworkDatabase, 'db'>;
  readonly log: Pick<Logger, 'error' | 'info' | 'warn'>;
}

/**
 * A commit is written before it is visible, so the look happens a moment later. Changes until the next look
 * are handled together.
 */
const settleMs = 5;
const restMs = 40;
/** How often state that another program removed from the kernel is restored. */
const compareEveryMs = 2000;

/** @throws NETWORK_NEWER_SCHEMA */
export function followNetworkServices({ databasePath, ofServices, ...parts }: FollowDeps): NetworkServices {
  const database = openNetworkDatabase(databasePath);
  const others = createOtherCommits([database, ofServices]);
  const selectAny = database.db.prepare(anyMembers);
  let agent: NetworkServicesAgent | undefined;
  let closed = false;
  let looking: Promise<void> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let comparedAt = 0;
  let reported = '';
  /** The last look failed, so its news are still to be applied. */
  let isOwed = false;

  /** Plugins are loaded only once an attachment joins a service. */
  const agentOf = async (): Promise<NetworkServicesAgent | undefined> => {
    if (agent !== undefined || selectAny.get() === undefined) return agent;
    const { openNetworkServices } = await import('./agent.ts');
    agent = openNetworkServices({ ...parts, database });
    return agent;
  };
  const look = async (): Promise<void> => {
    try {
      const isNews = others.came() || isOwed || agent?.isWaiting() === true;
      if (!isNews && (agent === undefined || performance.now() - comparedAt < compareEveryMs)) return;
      const current = await agentOf();
      if (current === undefined) return;
      comparedAt = performance.now();
      await current.look();
      isOwed = false;
      reported = '';
    } catch (thrown) {
      isOwed = true;
      const why = reasonOf(thrown);
      if (why !== reported)
        parts.log.error({ why }, 'network services could not be updated from the database; retrying');
      reported = why;
    }
  };
  const soon = (afterMs: number): void => {
    if (closed || timer !== undefined || looking !== undefined) return;
    timer = setTimeout(() => {
      timer = undefined;
      looking = look().then(() => {
        looking = undefined;
        // A change that was written during the look is not announced again.
        if (others.have() && agent?.isWaiting() !== true) soon(restMs);
      });
    }, afterMs);
  };

  const unwatch = watchCommits(databasePath, () => soon(settleMs));
  soon(0);

  return {
    async close() {
      closed = true;
      unwatch();
      clearTimeout(timer);
      await looking;
      agent?.close();
      database.close();
    },
  };
}
