import type { Command } from 'commander';
import { closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { PortcullisError, attempt, fileReason } from '../base/errors/index.ts';
import { readGivenFile } from '../base/files/index.ts';
import { openDatabaseLog, readExport } from '../trust/verdict-log/index.ts';
import type { LogSource } from '../trust/verdict-log/index.ts';
import { withOutput } from './output/output.ts';
import type { OutputFormat } from './output/output.ts';

export interface LogFlags {
  readonly root: string;
  readonly database?: string;
  readonly file?: string;
  readonly output: OutputFormat;
}

/** Size limit of a file that is read whole. */
const mostBytes = 400 * 1024 * 1024;

export function withLog(command: Command): Command {
  return withOutput(command)
    .option('--root <dir>', 'root folder of the daemon', '/var/lib/portcullis')
    .option('--database <file>', 'the database file, such as a copy of state.db')
    .option('--file <file>', 'an exported log or verdict instead');
}

export async function withSource<T>(flags: LogFlags, body: (log: LogSource) => Promise<T>): Promise<T> {
  if (flags.file !== undefined)
    return body(readExport(flags.file, await readText(flags.file, 'read exported verdict log')));
  if (flags.database !== undefined) requireDatabase(flags.database);
  const log = openDatabaseLog(flags.database ?? join(flags.root, 'state.db'));
  try {
    return await body(log);
  } finally {
    log.close();
  }
}

/** The first bytes of each database. Source: SQLite, "Database File Format", section 1.3. */
const magic = Buffer.from('SQLite format 3\0');

/**
 * Refuses a file of another kind. SQLite would report a damaged database, whose advice is about disks.
 * @throws PortcullisError CLI_FILE_UNREADABLE
 */
function requireDatabase(file: string): void {
  const head = attempt(() => headOf(file));
  // The reader of databases reports why a file cannot be read, and creates nothing in an empty one.
  if (head === undefined || head.length === 0 || head.equals(magic)) return;
  throw new PortcullisError({
    code: 'CLI_FILE_UNREADABLE',
    kind: 'invalid',
    attempted: 'read verdict log',
    on: file,
    why: 'it is not a database',
    fix: 'name the state.db of a daemon or a copy of it, or read an exported log with --file',
  });
}

function headOf(file: string): Buffer | undefined {
  if (!statSync(file).isFile()) return undefined;
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const head = Buffer.alloc(magic.length);
    return head.subarray(0, readSync(fd, head));
  } finally {
    closeSync(fd);
  }
}

export async function readText(file: string, attempted: string): Promise<string> {
  const failure = {
    code: 'CLI_FILE_UNREADABLE',
    kind: 'invalid',
    attempted,
    on: file,
    fix: 'name a readable file',
  } as const;
  try {
    return (await readGivenFile(file, mostBytes)).toString('utf8');
  } catch (error) {
    throw new PortcullisError({ ...failure, why: fileReason(error, file), cause: error });
  }
}
