import { readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { syncFolder } from '../../base/storage/index.ts';
import {
  entriesFolder,
  entryFileName,
  readEntryFileName,
  triesOfGoodSlot,
  triesOfUpdate,
} from './boot-entry.ts';
import type { EntryName, Slot } from './boot-entry.ts';

/** A boot entry on the disk. */
export interface FoundEntry extends EntryName {
  readonly file: string;
}

/**
 * Returns the boot entries of the slots, in the order of their names.
 * @param boot the mounted EFI system partition
 */
export function findEntries(boot: string): readonly FoundEntry[] {
  return readdirSync(join(boot, entriesFolder))
    .sort()
    .flatMap((file) => {
      const entry = readEntryFileName(file);
      return entry === undefined ? [] : [{ ...entry, file }];
    });
}

/**
 * Records that the running slot works: the boot loader gives it all its tries again. A slot that later stops
 * working, such as by a damaged disk, uses them up, and the other slot is started.
 * @returns whether the slot has an entry
 */
export async function confirmSlot(boot: string, slot: Slot): Promise<boolean> {
  const folder = join(boot, entriesFolder);
  const [entry, ...others] = findEntries(boot).filter((one) => one.slot === slot);
  if (entry === undefined) return false;
  const good = entryFileName({ slot, triesLeft: triesOfGoodSlot });
  // A power cut during a rename can leave both names on a FAT file system.
  for (const { file } of others) rmSync(join(folder, file));
  if (entry.file !== good) renameSync(join(folder, entry.file), join(folder, good));
  await syncFolder(folder);
  return true;
}

/** Whether the boot of the running slot is confirmed. The boot loader has counted a boot that is not. */
export const isConfirmed = (boot: string, running: Slot): boolean =>
  findEntries(boot).every(({ slot, triesDone = 0 }) => slot !== running || triesDone === 0);

/** Removes the entries of a slot: the boot loader does not start it any more. */
export async function removeEntries(boot: string, slot: Slot): Promise<void> {
  const folder = join(boot, entriesFolder);
  for (const { file } of findEntries(boot).filter((one) => one.slot === slot)) rmSync(join(folder, file));
  await syncFolder(folder);
}

/**
 * Returns the version in a slot that the boot loader may start; 0: a damaged entry names none, and may still
 * start; undefined: it starts none.
 */
export function startableVersion(boot: string, slot: Slot): number | undefined {
  const entry = findEntries(boot).find((one) => one.slot === slot && one.triesLeft !== 0);
  return entry === undefined ? undefined : (versionOf(boot, entry) ?? 0);
}

/**
 * Returns the version of an update in a slot whose only try was not confirmed; undefined: there is none. A
 * slot that worked before and then used up its tries does not count: the same version repairs it.
 */
export function failedVersion(boot: string, slot: Slot): number | undefined {
  const entry = findEntries(boot).find((one) => one.slot === slot);
  if (entry?.triesLeft !== 0 || entry.triesDone !== triesOfUpdate) return undefined;
  return versionOf(boot, entry);
}

function versionOf(boot: string, { file }: FoundEntry): number | undefined {
  const [, version] = /^version (\d+)$/mu.exec(readFileSync(join(boot, entriesFolder, file), 'utf8')) ?? [];
  return version === undefined ? undefined : Number(version);
}
