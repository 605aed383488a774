import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';

const tickMs = 1000;

/**
 * Calls `report` after each commit to the network's database by any process, and also once a second. The
 * callee then reads `PRAGMA data_version`. The database must stay open while it is watched.
 * @returns a function that ends the watch
 */
export function watchCommits(databasePath: string, report: () => void): () => void {
  let watching: FSWatcher | undefined;
  try {
    // Every commit writes this file. It exists as long as a connection is open.
    watching = watch(`${databasePath}-wal`, report);
    watching.on('error', () => watching?.close());
  } catch {
    // Then the check once a second applies.
  }
  const ticking = setInterval(report, tickMs);
  return () => {
    clearInterval(ticking);
    watching?.close();
  };
}
