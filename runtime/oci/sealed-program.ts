import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { sealedFile } from '../../base/kernel/index.ts';

const elf = Buffer.from('\x7fELF', 'latin1');

/**
 * crun and runc guard themselves against a container that writes to their program through /proc (CVE-2019-5736): each command
 * first copies or mounts it read-only and executes it again, which is half of a short command's time. A program that is a sealed
 * memory file needs none of that, and they look for just that (docs/decisions/0022-runtimes-run-sealed.md).
 * @returns what to execute now: the sealed copy by its path, or `path` when there can be none, or while a newer file is copied
 */
export async function openSealedProgram(path: string): Promise<() => string> {
  // Under SELinux the label of the file decides what the runtime may do, and a memory file has another.
  if (existsSync('/sys/fs/selinux/enforce')) return () => path;
  let sealed = await seal(path);
  let copying = false;
  return () => {
    if (sealed === undefined) return path;
    if (sealed.version === versionOf(path)) return sealed.program;
    // The old copy stays open: a monitor may be about to execute it. There is one for each upgrade of the runtime.
    if (!copying) {
      copying = true;
      void seal(path)
        .then((copy) => (sealed = copy ?? sealed))
        .finally(() => (copying = false));
    }
    return path;
  };
}

async function seal(path: string): Promise<{ readonly program: string; readonly version: string } | undefined> {
  try {
    const version = versionOf(path);
    const content = await readFile(path);
    // The interpreter of a script is told its path, which such a script may use.
    if (!content.subarray(0, elf.length).equals(elf)) return undefined;
    // By our pid and not `self`: the monitor executes it as well.
    return { program: `/proc/${process.pid}/fd/${sealedFile(basename(path), content)}`, version };
  } catch {
    return undefined;
  }
}

/** What changes with the file; empty when there is none. */
function versionOf(path: string): string {
  const file = statSync(path, { throwIfNoEntry: false });
  return file === undefined ? '' : [file.dev, file.ino, file.size, file.mtimeMs, file.ctimeMs].join(' ');
}
