import { join } from 'node:path';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { openDatabase, withBallast } from '../../base/storage/index.ts';
import type { Ballast, Database } from '../../base/storage/index.ts';
import { dropUnrecorded } from '../images/index.ts';
import { stateMigrations } from './schema.ts';

/** The same code as for every failure of the command. */
const exitCode = 4;

/**
 * SQLite's log is emptied every 4 MiB. The rest is for the files of a start, and for space that other
 * processes use up.
 */
const ballastBytes = 8 * 1024 * 1024;

/** Returns the reserved space that a start and removals may use when the disk of the root folder is full. */
export function ballastIn(root: string): Ballast {
  return { path: join(root, 'ballast'), bytes: ballastBytes };
}

/**
 * Runs a step of the start. On a full disk it first uses the reserved space, and then the space of files that
 * an earlier run left and no record names. The step must be repeatable.
 */
export function withRoom<T>(root: string, act: () => Promise<T>): Promise<T> {
  return withBallast(ballastIn(root), act, () => dropUnrecorded(join(root, 'images')));
}

/**
 * Opens the daemon's database. If the thread that owns it is lost, no request can be recorded any more. Then
 * the process ends at once, and the service manager starts the next one. Containers and their monitors keep
 * running.
 * @throws PortcullisError see `openDatabase`
 */
export function openStateDatabase(root: string, log: Logger): Promise<Database> {
  const onLost = ({ code, message }: PortcullisError): void => {
    log.error(
      { code, cause: message },
      'the database thread ended; the daemon exits, and its service manager starts it again',
    );
    process.exit(exitCode);
  };
  return withRoom(root, () =>
    openDatabase({
      path: join(root, 'state.db'),
      migrations: stateMigrations,
      ballast: ballastIn(root),
      onLost,
    }),
  );
}
