import { execFileSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { MNT_DETACH, mount, umount } from './index.ts';

/** Creates a folder for one test. Leftover mounts in it are unmounted, and the folder is removed. */
export function temporaryFolder(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'portcullis-kernel-'));
  t.after(() => {
    for (const target of mountsBelow(folder).reverse()) umount(target, MNT_DETACH);
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Like {@link temporaryFolder}, in memory: for trees whose creation would wait for a disk. */
export function temporaryMemory(t: TestContext): string {
  const folder = temporaryFolder(t);
  mount('tmpfs', folder, 'tmpfs', 0);
  return folder;
}

/** Returns a folder of a file system of its own that is damaged on the disk: no entry of it can be used. */
export function damagedFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  const [image, place] = [`${folder}/image`, `${folder}/place`];
  writeFileSync(image, '');
  truncateSync(image, 8 * 1024 * 1024);
  mkdirSync(place);
  execFileSync('mkfs.ext4', ['-q', image]);
  // The entry of this folder stays, and its inode does not.
  for (const act of ['mkdir damaged', 'clri /damaged'])
    execFileSync('debugfs', ['-w', '-R', act, image], { stdio: 'ignore' });
  execFileSync('mount', ['-o', 'loop', image, place]);
  return `${place}/damaged`;
}

/** Returns mount points at and below a folder, in the order of /proc/self/mountinfo. */
export function mountsBelow(folder: string): string[] {
  return mountLines(folder).map((fields) => fields[4] ?? '');
}

/** Returns the fields of mountinfo's lines for a folder: proc_pid_mountinfo(5). */
export function mountLines(folder: string): string[][] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').trimEnd().split('\n');
  return lines
    .map((line) => line.split(' '))
    .filter((fields) => fields[4] === folder || fields[4]?.startsWith(`${folder}/`));
}

/** Returns how many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
