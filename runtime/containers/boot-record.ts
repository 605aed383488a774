import type { Records } from '../state/records.ts';
import type { ContainerRecord } from './record.ts';

/**
 * Writes the record of a process that waits or runs. Such a process does not survive a reboot of the machine,
 * so its record need not survive it either (docs/decisions/0035). The record of its end must.
 */
export function putUntilBoot(records: Records<ContainerRecord>, record: ContainerRecord): Promise<void> {
  return records.put(record, [], 'process');
}
