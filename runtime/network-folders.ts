import { rm } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isPortcullisError, meansShortage, reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { deviceOf, leadsElsewhere, makeGate, setGate } from '../cni-plugins/index.ts';
import type { GatedFolder } from '../cni-plugins/index.ts';
import { createCopiedFolder } from './copied-folder.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { localFileSystems } from './container-mounts/local-mounts.ts';
import { parseMountinfo } from './container-mounts/mountinfo.ts';

/**
 * The folders of networks, NetworkPolicies and services, for threads that must not wait for a file server.
 */
export interface NetworkFolders {
  readonly gates: readonly GatedFolder[];
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
  const gates = folders.map((folder, index) => makeGate(folder, join(copies, String(index))));
  await rm(copies, { recursive: true, force: true });
  const copied = gates.map(({ folder, copy }) => createCopiedFolder(folder, copy, paths));
  const reported = gates.map(() => '');

  const look = async (gate: GatedFolder, index: number, isAgain = false): Promise<void> => {
    const report = (trouble: string): void => {
      if (trouble === reported[index]) return;
      reported[index] = trouble;
      if (trouble === '') log.info({ folder: gate.folder }, 'the folder can be read again');
      else
        log.error(
          { folder: gate.folder, cause: trouble },
          'a network folder cannot be read completely: the daemon checks it again each second',
        );
    };
    try {
      const device = localDevice(gate.folder);
      if (device !== undefined) {
        setGate(gate, { device });
        return report('');
      }
      const problems = (await copied[index]?.follow()) ?? [];
      setGate(gate, 'copied');
      report(problems.slice(0, 4).join('; '));
    } catch (thrown) {
      // Without a free descriptor, nothing is known about the folder: its gate stays as it was. A thread that
      // reads the folder itself compares its device each time.
      if (thrown instanceof NothingSeen) return report(reasonOf(thrown.cause));
      // One failure says nothing about the folder either. A second failure marks it as not answering.
      if (!isAgain && !(isPortcullisError(thrown) && thrown.code === 'RUNTIME_PATH_NO_ANSWER'))
        return look(gate, index, true);
      setGate(gate, 'no answer');
      report(reasonOf(thrown));
    }
  };

  let closed = false;
  const again = (gate: GatedFolder, index: number): void => {
    if (closed) return;
    timers[index] = setTimeout(
      () => void look(gate, index).then(() => again(gate, index)),
      lookEveryMs,
    ).unref();
  };
  const timers: NodeJS.Timeout[] = [];
  await Promise.all(gates.map((gate, index) => look(gate, index)));
  gates.forEach(again);
  return {
    gates,
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
