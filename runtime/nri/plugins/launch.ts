import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { lstat, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileReason, meansGone, PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { processIdentity, sameProcess } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
import { createSerialQueue } from '../../../base/queues/index.ts';
import { dropAbandonedWrites, writeFileAtomic } from '../../../base/storage/index.ts';
import { indexedName, parsePluginName } from './plugin-name.ts';
import type { PluginName } from './plugin-name.ts';

/** A pre-installed plugin: a program in the folder of plugins. */
export interface InstalledPlugin extends PluginName {
  readonly path: string;
}

export interface LaunchedPlugin {
  /** The plugin's end of the connection is its descriptor 3. */
  readonly trunk: Duplex;
  kill(): void;
}

export interface PluginLauncher {
  /** @throws PortcullisError NRI_LAUNCH_FAILED */
  launch(plugin: InstalledPlugin): Promise<LaunchedPlugin>;
  close(): void;
}

/** How much of one piece of a plugin’s output is logged, in bytes. */
const longestText = 1024;

/**
 * Returns the plugins in a folder, in the order of their names. A folder that does not exist has none. A
 * symbolic link, and a file that a user other than root can change, are refused: a plugin runs as root.
 * @throws PortcullisError NRI_PLUGIN_FOLDER, for any file that cannot be a plugin
 */
export async function installedPlugins(folder: string): Promise<readonly InstalledPlugin[]> {
  const names = await readdir(folder).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw badFolder(folder, fileReason(thrown, folder));
  });
  if (names.length === 0) return [];
  requireClosed(folder, await lstat(folder));
  const found: InstalledPlugin[] = [];
  for (const file of names.sort()) {
    const path = join(folder, file);
    const facts = await lstat(path).catch((thrown: unknown) => {
      // It was removed after the list was read.
      if (meansGone(thrown)) return undefined;
      throw badFolder(path, fileReason(thrown, path));
    });
    if (facts === undefined || facts.isDirectory() || (facts.mode & 0o111) === 0) continue;
    const name = parsePluginName(file);
    if (name === undefined) throw badFolder(path, 'its name does not have the form NN-NAME');
    requireClosed(path, facts);
    if (facts.isFile()) found.push({ ...name, path });
  }
  return found;
}

/** A link is refused: users other than root may be able to change the folders on the way to its target. */
function requireClosed(path: string, facts: Stats): void {
  if (facts.isSymbolicLink()) throw badFolder(path, 'it is a symbolic link');
  if (facts.uid !== 0 || (facts.mode & 0o022) !== 0)
    throw badFolder(path, 'users other than root can change it');
}

/**
 * Starts plugins, and ends those that an earlier run of the daemon left.
 * @param stateFile the list of the processes, so that the next run finds them
 */
export async function createLauncher(stateFile: string, log: Logger): Promise<PluginLauncher> {
  await dropAbandonedWrites(stateFile).catch((thrown: unknown) =>
    log.warn({ file: stateFile, why: reasonOf(thrown) }, 'parts of the list of NRI plugins remain'),
  );
  /** A leftover that could not be ended stays in the list. */
  const leftovers = endLeftovers(stateFile, log);
  const running = new Map<ChildProcess, ProcessIdentity>();
  const inOrder = createSerialQueue();
  /** @throws PortcullisError STORAGE_*. The previous list then stays */
  const note = (): Promise<void> =>
    inOrder(() => {
      const all = [...leftovers, ...running.values()];
      // It holds for the processes of this boot only, so it need not survive a power failure.
      if (all.length > 0) return writeFileAtomic(stateFile, JSON.stringify(all), { durable: false });
      return rm(stateFile, { force: true });
    });
  // The entry of a process that has ended harms nothing. The next change writes the whole list.
  const noteEnd = (): Promise<void> =>
    note().catch((thrown: unknown) =>
      log.warn({ file: stateFile, why: reasonOf(thrown) }, 'the end of an NRI plugin was not noted'),
    );
  await noteEnd();
  return {
    launch: async (plugin) => {
      const name = indexedName(plugin);
      // Node makes a pair of connected sockets for a pipe.
      const child = spawn(plugin.path, [], {
        cwd: '/',
        env: { NRI_PLUGIN_NAME: plugin.base, NRI_PLUGIN_IDX: plugin.index, NRI_PLUGIN_SOCKET: '3' },
        stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      });
      await new Promise<void>((resolve, reject) => {
        child.once('spawn', resolve);
        child.once('error', (error) => reject(launchFailed(name, error)));
      });
      child.on('error', () => undefined);
      child.once('exit', (code, signal) => {
        running.delete(child);
        log.warn({ plugin: name, code, signal }, 'an NRI plugin has ended');
        void noteEnd();
      });
      // Not line by line: a line without an end would be kept in memory as a whole.
      child.stderr?.on('data', (chunk: Buffer) =>
        log.debug({ plugin: name, text: chunk.toString('utf8', 0, longestText) }, 'an NRI plugin wrote'),
      );
      const kill = (): void => void child.kill('SIGKILL');
      try {
        const identity = processIdentity(child.pid ?? 0);
        if (identity !== undefined) running.set(child, identity);
        await note();
      } catch (thrown) {
        // The next run would not find it, and it would run beside its successor.
        kill();
        child.stdio[3]?.destroy();
        throw thrown;
      }
      return { trunk: child.stdio[3] as Duplex, kill };
    },
    close: () => {
      for (const child of running.keys()) child.kill('SIGKILL');
    },
  };
}

/**
 * A plugin usually ends with its connection. A plugin that did not end would run at the same time as its
 * successor.
 * @returns the processes that may still be running
 */
function endLeftovers(stateFile: string, log: Logger): readonly ProcessIdentity[] {
  let noted: readonly ProcessIdentity[];
  try {
    const content = parseJson(readFileSync(stateFile, 'utf8'));
    if (!Array.isArray(content)) throw new Error('it is not a list');
    noted = content.filter((one) => typeof one === 'object' && one !== null) as readonly ProcessIdentity[];
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn(
        { file: stateFile, why: fileReason(thrown, stateFile) },
        'NRI plugins of an earlier run may still be running',
      );
    return [];
  }
  return noted.filter((identity) => {
    try {
      if (sameProcess(identity)) process.kill(identity.pid, 'SIGKILL');
      return false;
    } catch (thrown) {
      if (meansGone(thrown)) return false;
      log.warn({ pid: identity.pid, why: reasonOf(thrown) }, 'an NRI plugin of an earlier run was not ended');
      return true;
    }
  });
}

function badFolder(on: string, why: string): PortcullisError {
  return new PortcullisError({
    code: 'NRI_PLUGIN_FOLDER',
    kind: 'precondition',
    attempted: 'read NRI plugins in',
    on,
    why,
    fix: 'correct the folder nri.pluginPath, and start the daemon again',
  });
}

function launchFailed(plugin: string, cause: Error): PortcullisError {
  return new PortcullisError({
    code: 'NRI_LAUNCH_FAILED',
    kind: 'precondition',
    attempted: 'start NRI plugin',
    on: plugin,
    why: cause.message,
    fix: 'correct the program',
    cause,
  });
}
