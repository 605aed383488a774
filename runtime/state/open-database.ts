import { join } from 'node:path';
import type { Logger } from '../../base/log/index.ts';
import { openDatabase } from '../../base/storage/index.ts';
import type { Ballast, Database } from '../../base/storage/index.ts';
import { stateMigrations } from './schema.ts';

/** As every failure of the command. */
const exitCode = 4;

/** SQLite's log is emptied each 4 MiB; the rest is for the files of a start, and for pieces that others take. */
const ballastBytes = 8 * 1024 * 1024;

/** What a start and removals may spend when the disk of the root folder is full. */
export function ballastIn(root: string): Ballast {
  return { path: join(root, 'ballast'), bytes: ballastBytes };
}

/**
 * Opens the daemon's database. When the thread that owns it is lost, no request could be recorded any more: the process ends at once, and the
 * service manager starts the next one. Containers and their monitors go on.
 * @throws PortcullisError see `openDatabase`
 */
export function openStateDatabase(root: string, log: Logger): Promise<Database> {
  return openDatabase({
    path: join(root, 'state.db'),
    migrations: stateMigrations,
    ballast: ballastIn(root),
    onLost: ({ code, message }) => {
      log.error({ code, cause: message }, 'the database is lost: the daemon ends, and its service manager starts it again');
      process.exit(exitCode);
    },
  });
}
