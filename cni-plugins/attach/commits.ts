import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';

const tickMs = 1000;

/**
 * Tells of each commit to the network's database, by whichever process, and once a second as well: whoever is told asks `PRAGMA data_version`. The database
 * must be open for as long as it is watched.
 * @returns ends it
 */
export function watchCommits(databasePath: string, tell: () => void): () => void {
  let watching: FSWatcher | undefined;
  try {
    // Written by whoever commits; it stands for as long as a connection does.
    watching = watch(`${databasePath}-wal`, tell);
    watching.on('error', () => watching?.close());
  } catch {
    // Then it is looked for once a second.
  }
  const ticking = setInterval(tell, tickMs);
  return () => {
    clearInterval(ticking);
    watching?.close();
  };
}
