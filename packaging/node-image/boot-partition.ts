import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { bootPath, entriesFolder, entryFileName, entryText, triesOfGoodSlot } from '../../node/index.ts';
import type { NodeImageManifest } from '../../node/index.ts';
import { guidOf } from './gpt.ts';
import type { RunTool } from './packages.ts';

/** Two kernels and initial file systems, and room to write a third. */
const bootMiB = 96;
export const bootPartitionBytes = bootMiB * 1024 * 1024;
const loaderSettings = 'timeout 0\neditor no\nconsole-mode keep\n';

export interface BootFiles {
  readonly manifest: NodeImageManifest;
  /** systemd-boot. */
  readonly loader: Uint8Array;
  readonly kernel: Uint8Array;
  readonly initial: Uint8Array;
}

/**
 * Writes the EFI system partition, with slot a as the only one that can start: a FAT32 file system, by
 * mtools.
 * @param folder for the files on their way
 */
export function writeBootPartition(
  path: string,
  { manifest, loader, kernel, initial }: BootFiles,
  run: RunTool,
  folder: string,
): void {
  const files: readonly (readonly [path: string, content: Uint8Array])[] = [
    // Firmware starts this path on a disk that it does not know (UEFI 2.10, 3.5.1.1).
    ['EFI/BOOT/BOOTX64.EFI', loader],
    ['loader/loader.conf', Buffer.from(loaderSettings)],
    [
      `${entriesFolder}/${entryFileName({ slot: 'a', triesLeft: triesOfGoodSlot })}`,
      Buffer.from(entryText('a', manifest)),
    ],
    [bootPath('a', 'kernel'), kernel],
    [bootPath('a', 'initial'), initial],
  ];
  const serial = guidOf(`${manifest.name}/boot`).slice(0, 8);
  const image = ['-i', path];
  rmSync(path, { force: true });
  // FAT32 needs 65525 clusters (UEFI requires FAT32 on a disk): one sector each.
  const shape = ['-T', String(bootPartitionBytes / 512), '-h', '64', '-s', '32', '-c', '1'];
  run('mformat', [...image, '-C', '-F', ...shape, '-N', serial, '-v', 'BOOT', '::']);
  const made = new Set<string>();
  for (const [name, content] of files) {
    for (const parent of parentsOf(name).filter((one) => !made.has(one))) {
      run('mmd', [...image, `::/${parent}`]);
      made.add(parent);
    }
    const file = join(folder, 'boot-files', name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    run('mcopy', [...image, file, `::/${name}`]);
  }
}

function parentsOf(path: string): readonly string[] {
  const parts = path.split('/').slice(0, -1);
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'));
}
