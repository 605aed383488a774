import { readFile, rm, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseJson } from '../../base/json/index.ts';
import { processIdentity } from '../../base/process/index.ts';

/**
 * Does what `crun delete` does for a container whose first process has ended: removes crun's folder for the
 * container. Running the program would take half of the time of a removal. The caller ends the remaining
 * processes of the container's cgroup and removes the cgroup, as crun would.
 * (docs/decisions/0022-runtimes-run-from-sealed-memory.md.)
 * @param dir crun's folder for the container, below `--root`
 * @returns false when the program must delete the container: its first process lives, it has hooks or a cache
 * allocation, systemd has its cgroup, or the folder is not as expected
 */
export async function deleteStopped(dir: string): Promise<boolean> {
  const status = join(dir, 'status');
  const [state, spec] = await Promise.all(
    [status, join(dir, 'config.json')].map((file) => readFile(file, 'utf8').catch(() => undefined)),
  );
  if (state === undefined || spec === undefined) return false;
  if (spec.includes('"hooks"') || spec.includes('"intelRdt"')) return false;
  if (!hasEnded(state)) return false;
  // crun deletes a folder without this file, too. Without config.json beside the file, it fails.
  await unlink(status);
  await rm(dir, { recursive: true, force: true });
  return true;
}

/** @param state the content of crun's file `status` */
function hasEnded(state: string): boolean {
  try {
    const fields = parseJson(state) as Readonly<Record<string, unknown>>;
    const { pid, 'process-start-time': startTime, 'systemd-cgroup': isSystemds } = fields;
    if (!Number.isInteger(pid) || !Number.isInteger(startTime) || isSystemds !== false) return false;
    return String(processIdentity(Number(pid))?.startTime) !== String(startTime);
  } catch {
    return false;
  }
}
