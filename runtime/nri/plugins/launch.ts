import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileReason, PortcullisError } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import type { Logger } from '../../../base/log/index.ts';
import { processIdentity, sameProcess } from '../../../base/process/index.ts';
import type { ProcessIdentity } from '../../../base/process/index.ts';
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
 * Returns the plugins in a folder, in the order of their names. A folder that does not exist has none. A file
 * that a user other than root can change is refused, because it would run as root.
 * @throws PortcullisError NRI_PLUGIN_FOLDER, for any file that cannot be a plugin
 */
export async function installedPlugins(folder: string): Promise<readonly InstalledPlugin[]> {
  const names = await readdir(folder).catch((thrown: unknown) => {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw badFolder(folder, fileReason(thrown, folder));
  });
  if (names.length === 0) return [];
  const isOpen = async (path: string): Promise<boolean> => {
    const { uid, mode } = await lstat(path);
    return uid !== 0 || (mode & 0o022) !== 0;
  };
  if (await isOpen(folder)) throw badFolder(folder, 'users other than root can change it');
  const found: InstalledPlugin[] = [];
  for (const file of names.sort()) {
    const path = join(folder, file);
    const facts = await lstat(path);
    if (!facts.isFile() || (facts.mode & 0o111) === 0) continue;
    const name = parsePluginName(file);
    if (name === undefined) throw badFolder(path, 'its name does not have the form NN-NAME');
    if (await isOpen(path)) throw badFolder(path, 'users other than root can change it');
    found.push({ ...name, path });
  }
  return found;
}

/**
 * Starts plugins, and ends those that an earlier run of the daemon left.
 * @param stateFile the list of the processes, so that the next run finds them
 */
export function createLauncher(stateFile: string, log: Logger): PluginLauncher {
  endLeftovers(stateFile, log);
  const running = new Map<ChildProcess, ProcessIdentity>();
  const note = (): void => {
    if (running.size === 0) rmSync(stateFile, { force: true });
    else writeFileSync(stateFile, JSON.stringify([...running.values()]), { mode: 0o600 });
  };
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
      const identity = processIdentity(child.pid ?? 0);
      if (identity !== undefined) running.set(child, identity);
      note();
      child.once('exit', (code, signal) => {
        running.delete(child);
        note();
        log.warn({ plugin: name, code, signal }, 'an NRI plugin has ended');
      });
      // Not line by line: a line without an end would be kept in memory as a whole.
      child.stderr?.on('data', (chunk: Buffer) =>
        log.debug({ plugin: name, text: chunk.toString('utf8', 0, longestText) }, 'an NRI plugin wrote'),
      );
      return { trunk: child.stdio[3] as Duplex, kill: () => void child.kill('SIGKILL') };
    },
    close: () => {
      for (const child of running.keys()) child.kill('SIGKILL');
    },
  };
}

/**
 * A plugin usually ends with its connection. A plugin that did not end would run at the same time as its
 * successor.
 */
function endLeftovers(stateFile: string, log: Logger): void {
  try {
    const noted = parseJson(readFileSync(stateFile, 'utf8')) as readonly ProcessIdentity[];
    for (const identity of noted) if (sameProcess(identity)) process.kill(identity.pid, 'SIGKILL');
    rmSync(stateFile, { force: true });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code !== 'ENOENT')
      log.warn(
        { file: stateFile, why: fileReason(thrown, stateFile) },
        'NRI plugins of an earlier run may still be running',
      );
  }
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
