import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { join, resolve } from 'node:path';
import { PortcullisError, reasonOf } from '../../../base/errors/index.ts';
import { makeFolderSync } from '../../../base/storage/index.ts';
import { addressPlugins, engineAddressTypes, plugins } from '../../plugins/registry.ts';
import { clientProgram, maxSocketPath } from './client.ts';
import { readStamp } from './stamp.ts';
import type { Stamp } from './stamp.ts';

/** Defaults for the socket on which the daemon listens for plugins, and for the folder of its database. */
export const defaultCniSocket = '/run/portcullis/cni.sock';
const defaultData = '/var/lib/portcullis';

export interface InstallOptions {
  /** Created if missing. */
  readonly binDir: string;
  readonly socket?: string;
  /** The daemon's `root`, which contains the database. */
  readonly data?: string;
  /**
   * Also install under the name that containerd and CRI-O call for every pod, whatever their configurations
   * say.
   */
  readonly loopback?: boolean;
  readonly version: string;
  /** The JavaScript program that works without the daemon. Default: the one of this package. */
  readonly program?: string;
}

export interface Installation {
  readonly binDir: string;
  readonly socket: string;
  readonly data: string;
  /** Names whose file was written, and names whose file was up to date. */
  readonly written: readonly string[];
  readonly unchanged: readonly string[];
}

/** Returns the names of the programs: `portcullis-` and the plugin's type. */
export function pluginNames(): readonly string[] {
  return [...plugins, ...addressPlugins, ...engineAddressTypes.map((type) => ({ type }))]
    .map(({ type }) => `portcullis-${type}`)
    .toSorted();
}

/** containerd and CRI-O bring up `lo` with a program of this name. */
const loopbackName = 'loopback';

/**
 * Installs the thin client under every plugin's name. Each file is written under a temporary name beside it
 * and renamed. So a running plugin is never an obstacle ("text file busy"), and a caller finds either the old
 * program or the new one, complete. A repeated call with the same options changes nothing. An installed
 * `loopback` of ours is updated; a `loopback` of another project is never touched.
 * @throws NETWORK_INSTALL_INVALID · NETWORK_INSTALL_FAILED
 */
export function installPlugins({
  binDir,
  socket = defaultCniSocket,
  data = defaultData,
  loopback = false,
  version,
  program = programPath(),
}: InstallOptions): Installation {
  const folder = resolve(binDir);
  const at = resolve(socket);
  if (Buffer.byteLength(at) > maxSocketPath) throw socketTooLong(at);
  const { state } = installedPlugin(folder, loopbackName);
  if (loopback && state === 'foreign') throw loopbackTaken(join(folder, loopbackName));
  const names = [...pluginNames(), ...(loopback || isOurs(state) ? [loopbackName] : [])];
  const stamp: Stamp = {
    version,
    socket: at,
    data: resolve(data),
    program: [process.execPath, program],
  };
  const client = clientProgram(stamp, process.arch === 'arm64' ? 'aarch64' : 'x86_64');
  const [written, unchanged]: [string[], string[]] = [[], []];
  try {
    makeFolderSync(folder, 0o755);
    for (const name of names) (replace(join(folder, name), client) ? written : unchanged).push(name);
  } catch (thrown) {
    throw new PortcullisError({
      code: 'NETWORK_INSTALL_FAILED',
      kind: 'precondition',
      attempted: 'install the CNI plugins in',
      on: folder,
      why: reasonOf(thrown),
      fix: 'name a writable folder, and run the command as root',
      cause: thrown,
    });
  }
  return { binDir: folder, socket: at, data: stamp.data, written, unchanged };
}

/** A file found under a plugin's name. */
export interface InstalledPlugin {
  readonly name: string;
  readonly state: 'installed' | 'missing' | 'foreign' | 'not-executable' | 'broken';
  readonly version?: string;
  readonly socket?: string;
  readonly data?: string;
}

const isOurs = (state: InstalledPlugin['state']): boolean => state !== 'missing' && state !== 'foreign';

/**
 * Lists the installed plugins. `foreign`: another program; `broken`: ours, but the program that works without
 * the daemon is gone. `loopback` is listed only if it is ours.
 */
export function installedPlugins(binDir: string): readonly InstalledPlugin[] {
  const extra = installedPlugin(binDir, loopbackName);
  return [
    ...pluginNames().map((name) => installedPlugin(binDir, name)),
    ...(isOurs(extra.state) ? [extra] : []),
  ];
}

function installedPlugin(binDir: string, name: string): InstalledPlugin {
  let bytes: Buffer;
  let mode: number;
  try {
    const path = join(binDir, name);
    const stats = statSync(path);
    if (!couldBeOurs(stats)) return { name, state: 'foreign' };
    ({ mode } = stats);
    bytes = readFileSync(path);
  } catch {
    return { name, state: 'missing' };
  }
  const stamp = readStamp(bytes);
  if (stamp === undefined) return { name, state: 'foreign' };
  const { version, socket, data, program } = stamp;
  const state = (mode & 0o111) === 0 ? 'not-executable' : program.every(exists) ? 'installed' : 'broken';
  return { name, state, version, socket, data };
}

/** Reading a pipe would block, and a large file is another program. */
const couldBeOurs = (stats: Stats): boolean => stats.isFile() && stats.size <= largestClient;

/** In bytes: a small program and a few paths. */
const largestClient = 64 * 1024;

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * Returns the path of the program that works without the daemon: its source, or the file beside this bundle.
 */
function programPath(): string {
  return join(
    import.meta.dirname,
    import.meta.url.endsWith('.ts') ? '../../bin/cni-plugin.ts' : 'cni-plugin.js',
  );
}

/** Returns false if the file is up to date. */
function replace(path: string, bytes: Buffer): boolean {
  if (isRight(path, bytes)) return false;
  const next = `${path}.${randomBytes(6).toString('hex')}.new`;
  const fd = openSync(next, 'wx', 0o755);
  try {
    try {
      for (let rest = bytes; rest.length > 0;) rest = rest.subarray(writeSync(fd, rest));
      fchmodSync(fd, 0o755);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(next, path);
    return true;
  } catch (thrown) {
    rmSync(next, { force: true });
    throw thrown;
  }
}

function isRight(path: string, bytes: Buffer): boolean {
  try {
    const stats = statSync(path);
    return couldBeOurs(stats) && (stats.mode & 0o777) === 0o755 && readFileSync(path).equals(bytes);
  } catch {
    return false;
  }
}

function socketTooLong(path: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INSTALL_INVALID',
    kind: 'invalid',
    attempted: 'install the CNI plugins for the socket',
    on: path,
    why: `the path of a socket can have at most ${maxSocketPath} bytes`,
    fix: 'give a shorter path with --socket',
  });
}

function loopbackTaken(path: string): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_INSTALL_INVALID',
    kind: 'invalid',
    attempted: 'install the CNI plugin',
    on: path,
    why: 'a third-party program is installed there',
    fix: 'leave out --loopback, because that program does the same, or remove that program',
  });
}
