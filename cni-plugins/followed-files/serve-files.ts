import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { fileReason } from '../../base/errors/index.ts';
import type { FileResult, ReadAnswer, ReadFile, Ready, SourceText } from './messages.ts';
import { stampOfStats } from './stamps.ts';

/**
 * Reads files in a Worker for threads that follow a folder. Parsing YAML takes about 700 ms per megabyte, and
 * those threads have other work.
 * @param read parses one file; pure
 */
export function serveFiles<Reading extends object>(
  read: (source: SourceText) => FileResult<Reading>,
  limits: { readonly file: number },
): void {
  const port = parentPort;
  if (port === null) throw new Error('files are read in a Worker');
  port.on('message', (asked: ReadFile) => {
    port.postMessage(answerTo(asked, read, limits.file) satisfies ReadAnswer<Reading>);
  });
  port.postMessage('ready' satisfies Ready);
}

function answerTo<Reading extends object>(
  { folder, name, stamp }: ReadFile,
  read: (source: SourceText) => FileResult<Reading>,
  mostBytes: number,
): ReadAnswer<Reading> {
  const path = join(folder, name);
  const refused = (why: string): ReadAnswer<Reading> => ({
    name,
    stamp,
    result: { unreadable: [`${path}:1:1: ${why}`] },
  });
  try {
    using opened = new DisposableStack();
    const descriptor = opened.adopt(openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), closeSync);
    const stats = fstatSync(descriptor, { bigint: true });
    if (!isSame(stampOfStats(stats), stamp)) return { name, stamp };
    if (stats.size > BigInt(mostBytes))
      return refused(`the file is larger than ${mostBytes} bytes; split it`);
    const bytes = readFileSync(descriptor);
    // The file may have been written during the read.
    if (!isSame(stampOfStats(fstatSync(descriptor, { bigint: true })), stamp)) return { name, stamp };
    return { name, stamp, result: read({ file: path, text: textOf(bytes) }) };
  } catch (thrown) {
    return refused(`it cannot be read: ${fileReason(thrown, path)}`);
  }
}

const isSame = (found: ReturnType<typeof stampOfStats>, stamp: string): boolean =>
  'stamp' in found && found.stamp === stamp;

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Error('it is not UTF-8');
  }
}
