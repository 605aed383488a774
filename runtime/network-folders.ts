import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isPortcullisError, meansShortage, reasonOf } from '../base/errors/index.ts';
import { localFileSystems } from '../base/kernel/index.ts';
import type { Logger } from '../base/log/index.ts';
import { deviceOf, leadsElsewhere, createCheckedFolder, setFolderState } from '../cni-plugins/index.ts';
import type { CheckedFolder } from '../cni-plugins/index.ts';
import { createCopiedFolder } from './copied-folder.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { parseMountinfo } from './container-mounts/mountinfo.ts';

/**
 * The folders of networks, NetworkPolicies and services, for threads that must not wait for a file server.
 */
export interface NetworkFolders {
  readonly checkedFolders: readonly CheckedFolder[];
  close(): void;
}

const lookEveryMs = 1_000;
/**
 * Checks each folder once, then each second. A thread reads a folder on a local file system itself. From any
 * other file system, separate processes that may hang copy the files.
 * @param copies a folder that only the daemon uses
 */
export async function followNetworkFolders(parts: {
  readonly folders: readonly string[];
  readonly copies: string;
  readonly paths: Pick<HostPaths, 'folderFiles' | 'folderContents'>;
  readonly log: Logger;
}): Promise<NetworkFolders> {
  const { folders, copies, paths, log } = parts;
  const checkedFolders = folders.map((folder, index) =>
    createCheckedFolder(folder, join(copies, String(index))),
  );
  await rm(copies, { recursive: true, force: true });
  const copied = checkedFolders.map(({ folder, copy }) => createCopiedFolder(folder, copy, paths));
  const reported = checkedFolders.map(() => '');

  const look = async (checked: CheckedFolder, index: number, isAgain = false): Promise<void> => {
    const report = (trouble: string): void => {
      if (trouble === reported[index]) return;
      reported[index] = trouble;
      if (trouble === '') log.info({ folder: checked.folder }, 'the folder can be read again');
      else
        log.error(
          { folder: checked.folder, cause: trouble },
          'a network folder cannot be read completely: the daemon checks it again each second',
        );
    };
    try {
      const device = localDevice(checked.folder);
      if (device !== undefined) {
        setFolderState(checked, { device });
        return report('');
      }
      const problems = (await copied[index]?.follow()) ?? [];
      setFolderState(checked, 'copied');
      report(problems.slice(0, 4).join('; '));
    } catch (thrown) {
      // Without a free descriptor, nothing is known about the folder: its state is kept. A thread that
      // reads the folder itself compares its device each time.
      if (thrown instanceof NothingSeen) return report(reasonOf(thrown.cause));
      // One failure says nothing about the folder either. A second failure marks it as not answering.
      if (!isAgain && !(isPortcullisError(thrown) && thrown.code === 'RUNTIME_PATH_NO_ANSWER'))
        return look(checked, index, true);
      setFolderState(checked, 'no answer');
      report(reasonOf(thrown));
    }
  };

  let closed = false;
  const again = (checked: CheckedFolder, index: number): void => {
    if (closed) return;
    timers[index] = setTimeout(
      () => void look(checked, index).then(() => again(checked, index)),
      lookEveryMs,
    ).unref();
  };
  const timers: NodeJS.Timeout[] = [];
  await Promise.all(checkedFolders.map((checked, index) => look(checked, index)));
  checkedFolders.forEach(again);
  return {
    checkedFolders,
    close: () => {
      closed = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}

/** A look that lacked a descriptor, before anything was known. */
class NothingSeen extends Error {}

/** Returns the device of a folder that any thread can read itself, or undefined. @throws NothingSeen */
function localDevice(folder: string): string | undefined {
  try {
    const device = deviceOf(folder, isLocal);
    return device !== undefined && isLocal(device) && !leadsElsewhere(folder, device) ? device : undefined;
  } catch (cause) {
    throw meansShortage(cause) ? new NothingSeen('no descriptor', { cause }) : cause;
  }
}

/** The last content of the mount table, and for each device in it whether its file system is local. */
let table = '';
let local: ReadonlyMap<string, boolean> = new Map();
let readAt = -Infinity;
const freshMs = 100;

/** The kernel reuses device numbers: after an unmount, the number may belong to a file server. */
function isLocal(device: string): boolean {
  if (performance.now() - readAt > freshMs) {
    const now = readFileSync('/proc/self/mountinfo', 'utf8');
    if (now !== table)
      local = new Map(parseMountinfo(now).map((mount) => [mount.device, localFileSystems.has(mount.fstype)]));
    table = now;
    readAt = performance.now();
  }
  return local.get(device) ?? false;
}
