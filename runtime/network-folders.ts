import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { isPortcullisError, reasonOf } from '../base/errors/index.ts';
import type { Logger } from '../base/log/index.ts';
import { deviceOf, makeGate, setGate } from '../cni-plugins/index.ts';
import type { GatedFolder } from '../cni-plugins/index.ts';
import type { HostPaths } from './host-paths/host-paths.ts';
import { localFileSystems } from './oci/local-mounts.ts';
import { parseMountinfo } from './oci/mountinfo.ts';

/** The folders of networks, NetworkPolicies and services, for threads that must not wait for a file server. */
export interface NetworkFolders {
  readonly gates: readonly GatedFolder[];
  close(): void;
}

const lookEveryMs = 1_000;
/** Of one file. One that is larger is cut off one byte after it, so that whoever reads the copy refuses it, too. */
const mostBytes = 16 * 1024 * 1024;

/**
 * Looks at each folder once, then each second. On a file system of this machine a thread reads it itself. From any other its files are
 * copied, by processes that can be lost.
 * @param copies a folder of the daemon's own
 */
export async function followNetworkFolders(parts: {
  readonly folders: readonly string[];
  readonly copies: string;
  readonly paths: Pick<HostPaths, 'folderTexts'>;
  readonly log: Logger;
}): Promise<NetworkFolders> {
  const { folders, copies, paths, log } = parts;
  const gates = folders.map((folder, index) => makeGate(folder, join(copies, String(index))));
  await rm(copies, { recursive: true, force: true });
  const known = gates.map(() => new Map<string, string>());
  const told = gates.map(() => '');

  const look = async (gate: GatedFolder, index: number, isAgain = false): Promise<void> => {
    const tell = (trouble: string): void => {
      if (trouble === told[index]) return;
      told[index] = trouble;
      if (trouble === '') log.info({ folder: gate.folder }, 'the folder answers again');
      else log.error({ folder: gate.folder, cause: trouble }, 'a folder of the network does not answer: it is looked at again each second');
    };
    try {
      const device = deviceOf(gate.folder, isLocal);
      if (device !== undefined && isLocal(device)) {
        setGate(gate, { device });
        known[index]?.clear();
        return tell('');
      }
      await copy(gate, known[index] ?? new Map<string, string>());
      setGate(gate, 'copied');
      tell('');
    } catch (thrown) {
      // One failure, as for want of a descriptor, says nothing of the folder; a second one closes the gate.
      if (!isAgain && !(isPortcullisError(thrown) && thrown.code === 'RUNTIME_PATH_NO_ANSWER')) return look(gate, index, true);
      setGate(gate, 'no answer');
      tell(reasonOf(thrown));
    }
  };

  const copy = async ({ folder, copy: target }: GatedFolder, have: Map<string, string>): Promise<void> => {
    const texts = new Map(await paths.folderTexts(folder, mostBytes));
    if (have.size === 0) await rm(target, { recursive: true, force: true });
    for (const name of have.keys())
      if (!texts.has(name)) {
        await rm(join(target, name), { force: true });
        have.delete(name);
      }
    await mkdir(target, { recursive: true, mode: 0o700 });
    for (const [name, text] of texts) {
      if (have.get(name) === text) continue;
      await mkdir(dirname(join(target, name)), { recursive: true, mode: 0o700 });
      // Whole or not at all, by a name that nobody reads.
      const draft = join(target, '.draft');
      await writeFile(draft, text, { mode: 0o600 });
      await rename(draft, join(target, name));
      have.set(name, text);
    }
    // What an earlier look made and the folder has no more.
    for (const name of await readdir(target))
      if (![...texts.keys()].some((each) => each === name || each.startsWith(`${name}/`)))
        await rm(join(target, name), { recursive: true, force: true });
  };

  let closed = false;
  const again = (gate: GatedFolder, index: number): void => {
    if (closed) return;
    timers[index] = setTimeout(() => void look(gate, index).then(() => again(gate, index)), lookEveryMs).unref();
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

/** File systems of this machine, by device. A device that was not seen yet is looked for in the table of mounts. */
const local = new Map<string, boolean>();

function isLocal(device: string): boolean {
  let found = local.get(device);
  if (found === undefined) {
    for (const { device: each, fstype } of parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8')))
      local.set(each, localFileSystems.has(fstype));
    found = local.get(device) ?? false;
    local.set(device, found);
  }
  return found;
}
