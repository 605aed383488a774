import { existsSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { sealedFile } from '../../base/kernel/index.ts';

const elf = Buffer.from('\x7fELF', 'latin1');

/**
 * Keeps a sealed copy of a runtime's program in memory. crun and runc protect themselves against a container
 * that writes to their program through /proc (CVE-2019-5736): each command first copies the program or mounts
 * it read-only, and executes it again. That takes half of the time of a short command. A program in a sealed
 * memory file does not need this, and both runtimes check for exactly that
 * (docs/decisions/0022-runtimes-run-from-sealed-memory.md).
 * @returns the program to execute now: the path of the sealed copy, or `path` if there can be no copy or
 * while a newer file is being copied
 */
export async function openSealedProgram(path: string): Promise<() => string> {
  // Under SELinux the label of the file decides what the runtime may do, and a memory file has a different
  // label.
  if (existsSync('/sys/fs/selinux/enforce')) return () => path;
  let sealed = await seal(path);
  let copying = false;
  return () => {
    if (sealed === undefined) return path;
    if (sealed.version === versionOf(path)) return sealed.program;
    // The old copy stays open, because a monitor may be about to execute it. Each upgrade of the runtime
    // leaves one old copy.
    if (!copying) {
      copying = true;
      void seal(path)
        .then((copy) => (sealed = copy ?? sealed))
        .finally(() => (copying = false));
    }
    return path;
  };
}

async function seal(
  path: string,
): Promise<{ readonly program: string; readonly version: string } | undefined> {
  try {
    const version = versionOf(path);
    const content = await readFile(path);
    // The interpreter of a script receives the path of the script, which the script may use.
    if (!content.subarray(0, elf.length).equals(elf)) return undefined;
    // The path contains our pid and not `self`, because the monitor executes it as well.
    return { program: `/proc/${process.pid}/fd/${sealedFile(basename(path), content)}`, version };
  } catch {
    return undefined;
  }
}

/** Returns a value that changes with the file. Empty if the file does not exist. */
function versionOf(path: string): string {
  const file = statSync(path, { throwIfNoEntry: false });
  return file === undefined ? '' : [file.dev, file.ino, file.size, file.mtimeMs, file.ctimeMs].join(' ');
}
