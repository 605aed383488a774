import { closeSync, constants, fstatSync, openSync, readFileSync, readdirSync, statSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { join } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Problem } from '../../../base/schema/index.ts';
import type { Reading, SourceText } from './read.ts';
import { textOf, tooLarge } from './source-text.ts';

/** A folder of descriptions, read when it changed. Synchronous, for a Worker. */
export interface ServiceFolder {
  /** What it says, when it is another than at the last call; a file that can not be read is a problem. */
  changed(): Promise<Reading | undefined>;
}

const isOurs = (name: string): boolean => /\.(?:ya?ml|json)$/u.test(name) && !name.startsWith('.');

/** Whether there is anything to read. */
export function hasDescriptions(folder: string): boolean {
  try {
    return readdirSync(folder).some(isOurs);
  } catch {
    return false;
  }
}

export interface FolderOptions {
  /** Milliseconds for which nothing there was written before it is read again: half a file would lack services. None unless told. */
  readonly quietMs?: number;
}

/** So often in a row it is waited for quiet: what is written all the time is read as it is. */
const mostWaits = 10;

/** @param folder may be missing. One that was there and is gone is not taken for an order to drop its services. */
export function openServiceFolder(folder: string, { quietMs = 0 }: FolderOptions = {}): ServiceFolder {
  let stamp: string | undefined;
  let waits = 0;
  return {
    async changed() {
      const now = stampOf(folder);
      if (now === stamp || now === undefined) return undefined;
      if (stamp !== undefined && waits < mostWaits && isBeingWritten(folder, quietMs)) {
        waits += 1;
        return undefined;
      }
      waits = 0;
      stamp = now;
      // YAML and schemas are most of the thread's program, and most nodes have no files.
      const { readInTurns } = await import('./read.ts');
      const unread: Problem[] = [];
      const sources = function* (): Generator<SourceText> {
        for (const name of attempt(folder, () => readdirSync(folder).filter(isOurs).toSorted()) ?? []) {
          const file = join(folder, name);
          const source = attempt(file, () => sourceOf(file));
          if (source !== undefined && 'text' in source) yield source;
          else if (source !== undefined) unread.push(source);
        }
      };
      function attempt<T>(file: string, body: () => T): T | undefined {
        try {
          return body();
        } catch (thrown) {
          unread.push(refusedFile(file, `it can not be read: ${reasonOf(thrown)}`));
          return undefined;
        }
      }
      const reading = readInTurns(sources());
      // The thread has more to do than to read.
      for (let turn = performance.now(); ;) {
        const { done, value } = reading.next();
        if (done === true) return { described: value.described, problems: [...unread, ...value.problems] };
        if (performance.now() - turn < turnMs) continue;
        await nextTurn();
        turn = performance.now();
      }
    },
  };
}

const turnMs = 20;

const refusedFile = (file: string, message: string): Problem => ({ position: { file, line: 1, column: 1 }, path: '', message });

function sourceOf(file: string): SourceText | Problem {
  // One that waits for a writer would be waited for.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stats = fstatSync(descriptor);
    if (!stats.isFile()) return refusedFile(file, 'it is not a file');
    // As it is for a moment when it is written anew.
    if (stats.size === 0) return refusedFile(file, 'it is empty; take it out of the folder where its services shall go');
    return tooLarge(file, stats.size) ?? textOf(file, readFileSync(descriptor));
  } finally {
    closeSync(descriptor);
  }
}

/** Names, sizes and times of its files, of what links lead to; undefined: there is no folder. */
function stampOf(folder: string): string | undefined {
  try {
    return readdirSync(folder)
      .filter(isOurs)
      .toSorted()
      .map((name) => `${name} ${fileStampOf(join(folder, name))}`)
      .join('\n');
  } catch {
    return undefined;
  }
}

/** Whether a file came, went or was written a moment ago. */
function isBeingWritten(folder: string, quietMs: number): boolean {
  const now = Date.now();
  const isFresh = (path: string): boolean => {
    try {
      return Math.abs(now - statSync(path).mtimeMs) < quietMs;
    } catch {
      return false;
    }
  };
  try {
    const names = readdirSync(folder).filter(isOurs);
    return [folder, ...names.map((name) => join(folder, name))].some(isFresh);
  } catch {
    return true;
  }
}

/** '': nothing is there, or a link that leads nowhere. */
function fileStampOf(file: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(file);
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`;
  } catch {
    return '';
  }
}
