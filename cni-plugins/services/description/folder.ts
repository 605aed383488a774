import { readFileSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../../../base/errors/index.ts';
import type { Reading, SourceText } from './read.ts';

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

/** @param folder may be missing. One that was there and is gone is not taken for an order to drop its services. */
export function openServiceFolder(folder: string): ServiceFolder {
  let stamp: string | undefined;
  return {
    async changed() {
      const now = stampOf(folder);
      if (now === stamp || now === undefined) return undefined;
      stamp = now;
      // YAML and schemas are most of the thread's program, and most nodes have no files.
      const { readServices } = await import('./read.ts');
      const sources: SourceText[] = [];
      const unread: Reading['problems'][number][] = [];
      for (const name of readdirSync(folder).filter(isOurs).toSorted()) {
        const file = join(folder, name);
        try {
          sources.push({ file, text: readFileSync(file, 'utf8') });
        } catch (thrown) {
          unread.push({ position: { file, line: 1, column: 1 }, path: '', message: `it can not be read: ${reasonOf(thrown)}` });
        }
      }
      const reading = readServices(sources);
      return { described: reading.described, problems: [...unread, ...reading.problems] };
    },
  };
}

/** Names, sizes and times of its files; undefined: there is no folder. */
function stampOf(folder: string): string | undefined {
  try {
    return readdirSync(folder)
      .filter(isOurs)
      .toSorted()
      .map((name) => {
        const { ino, size, mtimeMs, ctimeMs } = statSync(join(folder, name), { throwIfNoEntry: false }) ?? {};
        return `${name} ${ino ?? ''} ${size ?? ''} ${mtimeMs ?? ''} ${ctimeMs ?? ''}`;
      })
      .join('\n');
  } catch {
    return undefined;
  }
}
