import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parentPort } from 'node:worker_threads';
import { reasonOf } from '../../../base/errors/index.ts';
import { limits } from './documents.ts';
import { readFile } from './read.ts';
import type { FileResult } from './read.ts';
import { stampOfStats } from './stamps.ts';

/** Reads policy files beside the network's thread, which has pods to attach: YAML takes some 700 ms a megabyte. */

export interface ReadFile {
  readonly folder: string;
  readonly name: string;
  /** The file is read only as it was when it was looked at. */
  readonly stamp: string;
}

export interface ReadAnswer {
  readonly name: string;
  readonly stamp: string;
  /** Absent: the file has changed since, or it was not looked at. */
  readonly result?: FileResult;
  /** Why it was not looked at, which says nothing of the file. */
  readonly failed?: string;
}

/** The first message: what ends the Worker from then on is a file. */
export type Ready = 'ready';

const port = parentPort;
if (port === null) throw new Error('policy-files.worker runs as a Worker');
port.on('message', (asked: ReadFile) => {
  port.postMessage(answerOf(asked) satisfies ReadAnswer);
});
port.postMessage('ready' satisfies Ready);

function answerOf({ folder, name, stamp }: ReadFile): ReadAnswer {
  const path = join(folder, name);
  const refused = (why: string): ReadAnswer => ({ name, stamp, result: { unreadable: [`${path}:1:1: ${why}`] } });
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(descriptor, { bigint: true });
      if (!isSame(stampOfStats(stats), stamp)) return { name, stamp };
      if (stats.size > BigInt(limits.file)) return refused(`the file is larger than ${limits.file} bytes; split it`);
      const bytes = readFileSync(descriptor);
      // It may have been written while it was read.
      if (!isSame(stampOfStats(fstatSync(descriptor, { bigint: true })), stamp)) return { name, stamp };
      return { name, stamp, result: readFile({ file: path, text: textOf(bytes) }) };
    } finally {
      closeSync(descriptor);
    }
  } catch (thrown) {
    return refused(`it cannot be read: ${reasonOf(thrown)}`);
  }
}

const isSame = (found: ReturnType<typeof stampOfStats>, stamp: string): boolean => 'stamp' in found && found.stamp === stamp;

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Error('it is not UTF-8');
  }
}
