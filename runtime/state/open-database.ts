import { join } from 'node:path';
import type { PortcullisError } from '../../base/errors/index.ts';
import type { Logger } from '../../base/log/index.ts';
import { openDatabase, withBallast } from '../../base/storage/index.ts';
import type { Ballast, Database } from '../../base/storage/index.ts';
import { dropUnrecorded } from '../images/index.ts';
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
 * Does a part of the start, on a full disk with what the ballast holds, and then with what an earlier run left that no record names. The act is one
 * that can be repeated.
 */
export function withRoom<T>(root: string, act: () => Promise<T>): Promise<T> {
  return withBallast(ballastIn(root), act, () => dropUnrecorded(join(root, 'images')));
}

/**
 * Opens the daemon's database. When the thread that owns it is lost, no request could be recorded any more: the process ends at once, and the
 * service manager starts the next one. Containers and their monitors go on.
 * @throws PortcullisError see `openDatabase`
 */
export function openStateDatabase(root: string, log: Logger): Promise<Database> {
  const onLost = ({ code, message }: PortcullisError): void => {
    log.error({ code, cause: message }, 'the database is lost: the daemon ends, and its service manager starts it again');
    process.exit(exitCode);
  };
  return withRoom(root, () =>
    openDatabase({ path: join(root, 'state.db'), migrations: stateMigrations, ballast: ballastIn(root), onLost }),
  );
}
