import type { Logger } from '../../../base/log/index.ts';
import { createDenialLog } from '../../policy/index.ts';
import type { NetworkDatabase } from '../../database/database.ts';
import type { EndedNamespaces } from '../../database/ended-namespaces.ts';
import type { LinkWatch } from './link-watch.ts';
import type { NetworkCore } from '../pods/network-core.ts';
import type { RecentCalls } from './recent-calls.ts';

export interface UpkeepDeps {
  readonly database: NetworkDatabase;
  readonly core: NetworkCore;
  readonly namespaceIds: EndedNamespaces;
  readonly links: LinkWatch;
  readonly calls: Pick<RecentCalls, 'areOver'>;
  /** Checks soon whether the NetworkPolicies changed. */
  readonly followPolicies: () => void;
  /** Reports once that endpoints have names. */
  readonly reportNames: () => void;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
}

const lookEveryMs = 500;
const reportEveryMs = 5000;

/**
 * Follows the folder of NetworkPolicies, restores lost links, reports denials, and forgets namespaces that
 * ended.
 */
export function startUpkeep({
  database,
  core,
  namespaceIds,
  links,
  calls,
  followPolicies,
  reportNames,
  log,
}: UpkeepDeps): { close(): void } {
  const denialLog = createDenialLog(log);
  let reportedAt = -reportEveryMs;
  const failed = (thrown: unknown): void =>
    log.error(
      { why: String(thrown) },
      'policies and records could not be applied to the kernel; it is tried again',
    );
  const look = setInterval(() => {
    try {
      reportNames();
      database.exclusively(() => core.lookAfter());
      followPolicies();
      links.look();
      const now = performance.now();
      if (calls.areOver(now)) database.checkpoint();
      if (now - reportedAt < reportEveryMs) return;
      reportedAt = now;
      if (database.room?.isLow() === true) database.room.grow();
      forgetDead(namespaceIds, log);
      denialLog.report(core.denials(), now);
    } catch (thrown) {
      failed(thrown);
    }
  }, lookEveryMs);
  return { close: () => clearInterval(look) };
}

/** Removes the records of host network namespaces that ended. */
export function forgetDead(namespaceIds: EndedNamespaces, log: Pick<Logger, 'info'>): void {
  const gone = namespaceIds.forget();
  if (gone.length > 0)
    log.info({ namespaceIds: gone }, 'host namespaces of other callers ended: their records are removed');
}
