import type { NodeImageManifest } from './manifest.ts';

/** The two places of a node image on a disk. One runs, the other takes the next update. */
export const slots = ['a', 'b'] as const;
export type Slot = (typeof slots)[number];
/** Returns the slot that takes an update while the given one runs. */
export const otherSlot = (slot: Slot): Slot => (slot === 'a' ? 'b' : 'a');

/** Names of the partitions of a disk. */
export const partitions = {
  esp: 'portcullis-esp',
  a: 'portcullis-a',
  b: 'portcullis-b',
  state: 'portcullis-state',
} as const;

/** The folder of the boot loader's entries, in the EFI system partition. */
export const entriesFolder = 'loader/entries';
/** How often the boot loader starts a slot that is known to work without a success in between. */
export const triesOfGoodSlot = 3;
/** How often the boot loader starts a new update without a success. */
export const triesOfUpdate = 1;

export interface EntryName {
  readonly slot: Slot;
  /** Boots that the boot loader still tries. Absent: it does not count. */
  readonly triesLeft?: number;
  readonly triesDone?: number;
}

/**
 * Returns the file name of the boot entry of a slot. The boot loader counts the tries in it (UAPI Boot Loader
 * Specification, "Boot counting"): it renames `+3` to `+2-1` before it starts the entry. An entry without
 * tries left is used only if there is no other.
 */
export function entryFileName({ slot, triesLeft, triesDone = 0 }: EntryName): string {
  const left = triesLeft === undefined ? '' : `+${triesLeft}`;
  return `portcullis-${slot}${left}${triesLeft === undefined || triesDone === 0 ? '' : `-${triesDone}`}.conf`;
}

/** Reads the name of a boot entry; undefined: the file is no entry of a slot. */
export function readEntryFileName(name: string): EntryName | undefined {
  const found = /^portcullis-([ab])(?:\+(\d{1,5})(?:-(\d{1,5}))?)?\.conf$/u.exec(name);
  if (found === null) return undefined;
  const [, slot, left, done] = found;
  return {
    slot: slot as Slot,
    ...(left === undefined ? {} : { triesLeft: Number(left) }),
    ...(done === undefined ? {} : { triesDone: Number(done) }),
  };
}

/** Returns the path of a part in the EFI system partition. */
export const bootPath = (slot: Slot, part: 'kernel' | 'initial'): string =>
  `portcullis/${slot}/${part === 'kernel' ? 'vmlinuz' : 'initial.img'}`;

/**
 * Returns the boot entry of an image in a slot (UAPI Boot Loader Specification, type 1). The boot loader
 * starts the entry with the highest version that has tries left.
 */
export function entryText(slot: Slot, { name, version, commandLine, verity }: NodeImageManifest): string {
  const root = `portcullis.root=${verity.dataBlocks}:${verity.rootHash}:${verity.salt}`;
  return [
    `title ${name} ${version}, slot ${slot}`,
    'sort-key portcullis',
    `version ${version}`,
    `linux /${bootPath(slot, 'kernel')}`,
    `initrd /${bootPath(slot, 'initial')}`,
    `options ${commandLine} portcullis.slot=${slot} ${root}`,
    '',
  ].join('\n');
}

/** Returns the slot that a kernel was started from, by its command line; undefined: no node image. */
export function slotOfCommandLine(commandLine: string): Slot | undefined {
  const word = commandLine.split(/\s+/u).findLast((one) => one.startsWith('portcullis.slot='));
  const slot = word?.slice('portcullis.slot='.length);
  return slots.find((one) => one === slot);
}
