import { lstat, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';

/**
 * Removes the folder of a runtime for a container if the runtime cannot read its own state there. Its program
 * would fail at each attempt, and the pod could never be removed. The caller ends the remaining processes of
 * the container's cgroup and removes the cgroup.
 * @param dir the runtime's folder for the container, below `--root`
 * @param statusFile the file of the state in this folder
 * @returns false when the state can be read: the program failed for another reason
 */
export async function deleteDamaged(dir: string, statusFile: string): Promise<boolean> {
  if (!(await isDamaged(dir, statusFile))) return false;
  await rm(dir, { recursive: true, force: true });
  return true;
}

async function isDamaged(dir: string, statusFile: string): Promise<boolean> {
  if (!(await lstat(dir)).isDirectory()) return true;
  const text = await readFile(join(dir, statusFile), 'utf8');
  try {
    return !(parseJson(text) instanceof Object);
  } catch {
    return true;
  }
}
