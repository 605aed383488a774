import { existsSync } from 'node:fs';
import { openReadOnly } from '../../base/storage/index.ts';

/** The network's database, opened for reading. */
export type NetworkRecords = ReturnType<typeof openReadOnly>;

/**
 * Reads the network's database in one snapshot.
 * @param none the result if there are no records: the file does not exist, or has no tables because the
 * process that created it found no space on the disk
 */
export function readRecords<Value>(
  databasePath: string,
  none: Value,
  read: (records: NetworkRecords) => Value,
): Value {
  if (!existsSync(databasePath)) return none;
  using records = openReadOnly(databasePath);
  return records.version === 0 ? none : read(records);
}
