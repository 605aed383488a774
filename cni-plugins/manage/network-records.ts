import { statSync } from 'node:fs';
import { openReadOnly } from '../../base/storage/index.ts';

/** The network's database, opened for reading. */
export type NetworkRecords = ReturnType<typeof openReadOnly>;

/** A file that this user may not see is not absent: opening it reports that. */
function isAbsent(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) === undefined;
  } catch {
    return false;
  }
}

/**
 * Reads the network's database in one snapshot.
 * @param none the result if there are no records: the file does not exist, or has no tables because the
 * process that created it found no space on the disk
 * @throws PortcullisError STORAGE_NO_ACCESS if this user may not read the file
 */
export function readRecords<Value>(
  databasePath: string,
  none: Value,
  read: (records: NetworkRecords) => Value,
): Value {
  if (isAbsent(databasePath)) return none;
  using records = openReadOnly(databasePath);
  return records.version === 0 ? none : read(records);
}
