import { readFile } from 'node:fs/promises';
import { parseJson } from '../../base/json/index.ts';
import { currentBootId } from '../../base/process/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../base/storage/index.ts';
import type { StoreFolders } from './folders.ts';

/** Tells an orderly stop, or a mere crash of the process, from a stop of the whole machine that may have lost writes. */
export interface ShutdownMarker {
  /** The machine was started again since the last run, and that run did not end in order. */
  readonly unclean: boolean;
  stopped(): Promise<void>;
}

export async function openShutdownMarker(folders: StoreFolders): Promise<ShutdownMarker> {
  const path = `${folders.root}/last-run.json`;
  const write = (clean: boolean): Promise<void> =>
    writeFileAtomic(path, JSON.stringify({ bootId: currentBootId(), clean }), { mode: 0o600, durable: true });
  await dropAbandonedWrites(path);
  const before = await read(path);
  // Durable before anything is written: a marker left from a clean stop must not vouch for this run.
  await write(false);
  return { unclean: before !== undefined && !before.clean && before.bootId !== currentBootId(), stopped: () => write(true) };
}

async function read(path: string): Promise<{ readonly bootId: string; readonly clean: boolean } | undefined> {
  try {
    const value: unknown = parseJson(await readFile(path, 'utf8'));
    if (typeof value === 'object' && value !== null && 'bootId' in value && 'clean' in value) {
      return { bootId: String(value.bootId), clean: value.clean === true };
    }
    return { bootId: '', clean: false };
  } catch (thrown) {
    // Unreadable is unclean; absent is a new store.
    return thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT' ? undefined : { bootId: '', clean: false };
  }
}
