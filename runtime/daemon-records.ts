import type { Logger } from '../base/log/index.ts';
import type { Database } from '../base/storage/index.ts';
import { isContainerPhase } from './containers/lifecycle.ts';
import type { ContainerRecord } from './containers/record.ts';
import { isSandboxPhase } from './pods/lifecycle.ts';
import type { SandboxRecord } from './pods/record.ts';
import { openRecords } from './state/records.ts';
import type { WatchedRecords } from './state/records.ts';

/** The records of pods and containers. */
export interface DaemonRecords {
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
}

/**
 * Reads all records of pods and containers. A damaged record costs its pod or its container, and not the
 * node: it is left out and logged, and the start removes what no record claims.
 * @throws the errors of the database
 */
export async function openDaemonRecords(database: Database, log: Logger): Promise<DaemonRecords> {
  const leftOut = (what: string) => (id: string, why: string) =>
    log.error({ [what]: id, why }, `the record of a ${what} is damaged: the ${what} is removed`);
  const sandboxRecords = await openRecords<SandboxRecord>(database, 'sandbox', {
    problemOf: ({ phase, config }) => problemOf(isSandboxPhase(phase), config),
    leftOut: leftOut('sandbox'),
  });
  const containerRecords = await openRecords<ContainerRecord>(database, 'container', {
    problemOf: ({ phase, config, sandboxId = '' }) =>
      sandboxRecords.get(sandboxId) === undefined
        ? 'its pod has no record'
        : problemOf(isContainerPhase(phase), config),
    leftOut: leftOut('container'),
  });
  return { sandboxRecords, containerRecords };
}

/** Returns what every release has written into a record, and this record does not have. */
function problemOf(
  hasPhase: boolean,
  config: { readonly metadata?: object } | null | undefined,
): string | undefined {
  if (!hasPhase) return 'its phase is unknown';
  return config?.metadata instanceof Object ? undefined : 'its request is missing';
}
