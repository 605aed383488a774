import { chmod, chown, lstat, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoIs, failure, tolerate } from '../../base/errors/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import type { DaemonConfig } from '../config/types.ts';

/** Where the daemon keeps state that ends with a boot. */
export interface StateFolders {
  readonly pods: string;
  readonly containers: string;
  readonly oci: string;
  readonly attach: string;
  /** Where prepared monitors keep their logs until a container has them. On disk, as the logs of pods are. */
  readonly monitorLogs: string;
  /**
   * Where root file systems of pods with a user namespace are mounted. Their root must be able to pass
   * through the folder.
   */
  readonly mappedRoots: string;
}

/**
 * Creates a folder of this process, or takes over one that exists, such as a mounted volume: no other user
 * may change what it holds.
 * @throws PortcullisError if it cannot be created or has a link of another user, or the error of node:fs if
 * it cannot be taken over
 */
export async function makeOwnFolder(folder: string, mode = 0o700): Promise<void> {
  await makeFolder(folder, mode);
  await takeOver(folder, () => mode);
  for (const entry of await readdir(folder, { withFileTypes: true }))
    if (entry.isSymbolicLink()) await refuseForeign(join(folder, entry.name));
}

/** A link in a folder that another user owned may lead to any folder, which would be taken over, or used. */
async function refuseForeign(link: string): Promise<void> {
  // A monitor may remove its link meanwhile.
  const uid = (await tolerate(errnoIs('ENOENT'), () => lstat(link)))?.uid;
  if (uid === undefined || uid === (process.getuid?.() ?? uid)) return;
  throw failure(
    'STORAGE_NO_ACCESS',
    'precondition',
    'take over folder',
    dirname(link),
    `the link ${basename(link)} in it belongs to the user ${uid}`,
    `remove the link: rm ${link}`,
  );
}

/** @param modeOf returns the mode that the folder gets instead of this one */
async function takeOver(folder: string, modeOf: (mode: number) => number): Promise<void> {
  const found = await stat(folder);
  const uid = process.getuid?.() ?? found.uid;
  // The owner of a folder may change its mode.
  if (found.uid !== uid) await chown(folder, uid, process.getgid?.() ?? found.gid);
  const mode = modeOf(found.mode & 0o7777);
  if ((found.mode & 0o7777) !== mode) await chmod(folder, mode);
}

/**
 * Creates root and state with their subfolders, for root only (0700). Other users may only pass through the
 * state folder if the configuration lets them reach the socket there, or if they are a pod's root.
 */
export async function makeFolders(
  config: Pick<DaemonConfig, 'root' | 'state' | 'peers'>,
): Promise<StateFolders> {
  const own = {
    pods: join(config.state, 'pods'),
    containers: join(config.state, 'containers'),
    oci: join(config.state, 'oci'),
    attach: join(config.state, 'a'),
    monitorLogs: join(config.root, 'monitor-logs'),
  };
  const mappedRoots = join(config.state, 'u');
  const { uids, gids } = config.peers;
  const inUse = await readdir(mappedRoots).catch((): string[] => []);
  await makeOwnFolder(config.root);
  // Before what is below it: its owner could replace the folders there.
  await makeOwnFolder(config.state, uids.length + gids.length + inUse.length > 0 ? 0o711 : 0o700);
  for (const folder of Object.values(own)) await makeOwnFolder(folder);
  await makeOwnFolder(mappedRoots, 0o711);
  for (const entry of await readdir(config.state, { withFileTypes: true }))
    if (entry.isDirectory()) await takeOver(join(config.state, entry.name), (mode) => mode & ~0o022);
  return { ...own, mappedRoots };
}
