import type { Command } from 'commander';
import { join } from 'node:path';
import { PortcullisError, fileReason } from '../base/errors/index.ts';
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
  const log = openDatabaseLog(flags.database ?? join(flags.root, 'state.db'));
  try {
    return await body(log);
  } finally {
    log.close();
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
