import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { partitions } from '../../node/index.ts';
import { bootPartitionBytes } from './boot-partition.ts';
import { partitionTable } from './gpt.ts';
import type { Recipe } from './recipe.ts';

const mib = 1024 * 1024;

/**
 * Writes the disk of a new machine: the boot partition, the root in slot a, an empty slot b, and an empty
 * partition for the state, which the first boot formats. Empty parts take no space in the file.
 * @throws Error if the root does not fit into a slot
 */
export function writeDisk(
  path: string,
  { metadata, sizes }: Recipe,
  boot: Uint8Array,
  root: Uint8Array,
): void {
  const slotBytes = sizes.slotMiB * mib;
  if (root.length > slotBytes)
    throw new Error(
      `the root has ${Math.ceil(root.length / mib)} MiB, and a slot ${sizes.slotMiB}: raise \`sizes.slotMiB\``,
    );
  const table = partitionTable(metadata.name, [
    { name: partitions.esp, type: 'esp', bytes: bootPartitionBytes },
    { name: partitions.a, type: 'linux', bytes: slotBytes },
    { name: partitions.b, type: 'linux', bytes: slotBytes },
    { name: partitions.state, type: 'linux', bytes: sizes.stateMiB * mib },
  ]);
  const [first, second] = table.partitions;
  using opened = new DisposableStack();
  const disk = opened.adopt(openSync(path, 'w', 0o644), closeSync);
  ftruncateSync(disk, table.diskBytes);
  writeAt(disk, table.head, 0);
  writeAt(disk, boot, first?.at ?? 0);
  writeAt(disk, root, second?.at ?? 0);
  writeAt(disk, table.tail, table.diskBytes - table.tail.length);
}

function writeAt(disk: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length;)
    done += writeSync(disk, bytes, done, Math.min(bytes.length - done, 16 * mib), at + done);
}
