import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { writeNewFile } from '../../base/files/index.ts';
import { landlockLauncher } from '../../entitlements/index.ts';
import type { Settings } from '../../entitlements/index.ts';
import { launcherPath } from '../container-mounts/launcher-name.ts';
import type { OciMount } from './spec.types.ts';

/**
 * Provides the launcher for these rules as a file on the host that containers mount. The same rules give the
 * same file. Its content is compared byte by byte on each call. All users can read and execute it, because it
 * runs as the container's user.
 * @param stateDir a runtime in a user namespace must be able to reach this folder
 */
export async function provideLauncher(
  stateDir: string,
  rules: NonNullable<Settings['landlock']>,
): Promise<string> {
  const bytes = Buffer.from(landlockLauncher(rules, process.arch === 'arm64' ? 'aarch64' : 'x86_64'));
  const folder = join(stateDir, 'launchers');
  const file = join(folder, createHash('sha256').update(bytes).digest('hex'));
  const existing = await readFile(file).catch(() => undefined);
  if (existing !== undefined && bytes.equals(existing)) return file;
  await mkdir(folder, { recursive: true });
  await chmod(folder, 0o711);
  const draft = `${file}.${randomUUID()}`;
  await writeNewFile(draft, bytes, { mode: 0o500, flag: 'wx' });
  await chmod(draft, 0o555);
  await rename(draft, file);
  return file;
}

/** Returns the mount of a launcher. It is the last mount, so that no mount of the pod covers it. */
export function launcherMount(file: string): OciMount {
  return {
    destination: launcherPath,
    type: 'bind',
    source: file,
    options: ['bind', 'rprivate', 'ro', 'nosuid', 'nodev', 'exec'],
  };
}
