import type { Database } from '../base/storage/index.ts';
import type { ContainerRecord } from './containers/record.ts';
import type { SandboxRecord } from './pods/record.ts';
import { openRecords } from './state/records.ts';
import type { WatchedRecords } from './state/records.ts';

/** The records of pods and containers. */
export interface DaemonRecords {
  readonly sandboxRecords: WatchedRecords<SandboxRecord>;
  readonly containerRecords: WatchedRecords<ContainerRecord>;
}

/** Reads all records of pods and containers. */
export async function openDaemonRecords(database: Database): Promise<DaemonRecords> {
  const [sandboxRecords, containerRecords] = await Promise.all([
    openRecords<SandboxRecord>(database, 'sandbox'),
    openRecords<ContainerRecord>(database, 'container'),
  ]);
  return { sandboxRecords, containerRecords };
}
