import { existsSync } from 'node:fs';
import { openReadOnly } from '../../../base/storage/index.ts';
import { readableAt } from '../../followed-files/checked-folder.ts';
import type { CheckedFolder } from '../../followed-files/checked-folder.ts';
import { hasDescriptions } from '../description/folder.ts';
import { hasUnservedRules } from '../kubernetes/unserved-addresses.ts';
import { anyMembers, memberTables } from '../network-services/members.ts';

/**
 * Whether there is anything to balance: in the folder of descriptions, in the database from an earlier run,
 * or joined on a network. Rules of a cluster that was followed count too: the thread removes them. Blocks for
 * a moment.
 * @param checkedFolders folders that may be on a file server; a server that does not answer counts as empty
 */
export function hasServices(
  databasePath: string,
  folder: string,
  checkedFolders: readonly CheckedFolder[] = [],
): boolean {
  if (hasDescriptions(readableAt(folder, checkedFolders)) || hasUnservedRules()) return true;
  if (!existsSync(databasePath)) return false;
  using database = openReadOnly(databasePath);
  const tables = database.get(
    "SELECT count(*) AS found FROM sqlite_schema WHERE name IN ('service', 'service_drain')",
  );
  if (Number(tables?.['found']) < 2) return false;
  if (database.get('SELECT 1 FROM service UNION SELECT 1 FROM service_drain LIMIT 1') !== undefined)
    return true;
  const members = database.get(
    'SELECT count(*) AS found FROM sqlite_schema WHERE name IN (SELECT value FROM json_each(?))',
    [JSON.stringify(memberTables)],
  );
  return Number(members?.['found']) === memberTables.length && database.get(anyMembers) !== undefined;
}
