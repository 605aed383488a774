import { readFileSync, readdirSync, statSync } from 'node:fs';
import type { Dirent } from 'node:fs';
import { extname, join } from 'node:path';
import { PortcullisError, fileReason, folderReason } from '../../base/errors/index.ts';
import { append } from '../../base/lists/index.ts';
import { readConflist } from './conflist.ts';
import type { NetworkConfig } from './network-config.ts';
import { ownFolderOf, readPluginList } from './plugin-list.ts';
import type { PluginList } from './plugin-list.ts';

/** The networks that the folder configures, and the files that were skipped before them. */
export interface LoadedNetworks {
  readonly networks: readonly LoadedNetwork[];
  readonly skipped: readonly string[];
}

export interface LoadedNetwork {
  readonly name: string;
  readonly file: string;
  /** The list as any runtime reads it. */
  readonly list: PluginList;
  /**
   * `core`: this engine attaches the network itself, as `network` describes it. Otherwise its plugins run one
   * after another: `in-process` for our own, or `exec` for all as programs.
   */
  readonly way: 'core' | 'in-process' | 'exec';
  readonly network?: NetworkConfig;
}

export interface LoadOptions {
  /** Run every chain as programs, even if all of its plugins are ours. */
  readonly exec: boolean;
  /** The highest number of networks. */
  readonly most: number;
  readonly isOurs: (type: string) => boolean;
}

const extensions = ['.conflist', '.conf', '.json'];
const maxBytes = 1024 * 1024;

/**
 * Returns the first loadable files in lexicographic order, as libcni and the runtimes choose them. A file
 * that libcni could not load is skipped if a later one loads.
 * @throws NETWORK_NO_CONFLIST · NETWORK_CONFLIST_INVALID (with every problem as file:line:column) ·
 * NETWORK_PLUGIN_UNSUPPORTED
 */
export function loadNetworks(confDir: string, options: LoadOptions): LoadedNetworks {
  const skipped: string[] = [];
  const networks: LoadedNetwork[] = [];
  for (const file of confFiles(confDir)) {
    if (networks.length === options.most) break;
    const loaded = loadFile(confDir, file, options);
    if (Array.isArray(loaded)) append(skipped, loaded);
    else if (networks.some(({ name }) => name === loaded.name))
      skipped.push(`${file}: the network ${loaded.name} is loaded already`);
    else networks.push(loaded);
  }
  if (networks.length > 0) return { networks, skipped };
  if (skipped.length > 0) throw invalid(confDir, skipped);
  throw new PortcullisError({
    code: 'NETWORK_NO_CONFLIST',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: confDir,
    why: 'the folder has no .conflist, .conf or .json file',
    fix: `write a network with \`portcullis network create pods --subnet 10.210.0.0/16${confDir === defaultConfDir ? '' : ` --conf-dir ${shellWord(confDir)}`}\` (any free subnet), or put a CNI conflist there; it is read at once, without a restart`,
  });
}

/** The conf folder of commands that are given none. */
const defaultConfDir = '/etc/cni/net.d';

/** Quotes a path for a shell if it needs that. */
const shellWord = (path: string): string =>
  /^[\w@%+=:,./-]+$/u.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;

/** Returns a network, or the reasons why libcni would not load the file. */
function loadFile(confDir: string, file: string, { exec, isOurs }: LoadOptions): LoadedNetwork | string[] {
  const read = readWhole(confDir, file);
  if (!('text' in read)) return [`${file}: it cannot be read: ${read.why}`];
  const { text, more } = read;
  const whole = readPluginList(text, file, more);
  if (more.length === 0) {
    const own = readConflist(text, file);
    if (own.outcome === 'malformed') return own.problems;
    if (!exec && own.outcome === 'invalid') throw invalid(confDir, own.problems);
    if (whole.outcome === 'malformed')
      throw unsupported(own.outcome === 'ok' ? own.network.name : own.name, whole.problems);
    if (!exec && own.outcome === 'ok')
      return { name: own.network.name, file, list: whole.list, way: 'core', network: own.network };
  }
  if (whole.outcome === 'malformed') return whole.problems;
  const { list } = whole;
  const ours = list.plugins.every(
    ({ type, ipamType }) => isOurs(type) && (ipamType === undefined || isOurs(ipamType)),
  );
  return { name: list.name, file, list, way: ours && !exec ? 'in-process' : 'exec' };
}

/**
 * Returns a file together with the files in the folder named after its network, or why they cannot be read.
 */
function readWhole(
  confDir: string,
  file: string,
): { readonly text: string; readonly more: ReturnType<typeof readPluginFiles> } | { readonly why: string } {
  try {
    const text = readConfFile(file);
    return { text, more: readPluginFiles(confDir, text, file) };
  } catch (thrown) {
    return { why: fileReason(thrown, file) };
  }
}

/**
 * Reads the plugins that are separate files, in the folder named after the network (CNI specification 1.1,
 * `loadOnlyInlinedPlugins`).
 * @param confDir the folder of the list
 * @param text the content of the list
 * @throws NETWORK_CONFLIST_UNREADABLE
 */
export function readPluginFiles(
  confDir: string,
  text: string,
  file: string,
): { readonly file: string; readonly text: string }[] {
  const name = ownFolderOf(text, file);
  return name === undefined
    ? []
    : confFilesIn(join(confDir, name), ['.conf']).map((each) => ({ file: each, text: readConfFile(each) }));
}

/**
 * Returns a function that computes a stamp. The stamp changes whenever a file of the folder changes, so
 * loaded networks stay valid while it is the same. Every pod requests it, so a folder is listed again only
 * after it changed.
 */
export function followConfFolder(confDir: string): () => string {
  let listed: Listing | undefined;
  return () => {
    try {
      if (listed === undefined || !isCurrent(listed)) listed = list(confDir);
      return listed.files.map(fileStampOf).join('\n');
    } catch {
      listed = undefined;
      return `unreadable ${performance.now()}`;
    }
  };
}

interface Listing {
  readonly folders: readonly { readonly path: string; readonly stamp: string }[];
  readonly files: readonly string[];
  /**
   * The timestamps of a file system are coarse: a listing taken right after a change may miss the next
   * change.
   */
  readonly settled: boolean;
}

const tickMs = 1000;

function list(confDir: string): Listing {
  const stamped = (path: string): Listing['folders'][number] => ({ path, stamp: stampOf(path) });
  // The stamps are taken before the files are read: a change during the read yields another stamp at the next
  // call.
  const folders = [stamped(confDir), ...foldersIn(confDir).map(stamped)];
  const [, ...inner] = folders;
  const files = [...confFiles(confDir), ...inner.flatMap(({ path }) => confFilesIn(path, ['.conf']))];
  const before = Date.now() - tickMs;
  return { folders, files, settled: folders.every(({ path }) => statSync(path).mtimeMs < before) };
}

const isCurrent = ({ folders, settled }: Listing): boolean =>
  settled && folders.every(({ path, stamp }) => stampOf(path) === stamp);

function stampOf(path: string): string {
  const { mtimeNs, size, ino } = statSync(path, { bigint: true });
  return `${path}\0${mtimeNs}\0${size}\0${ino}`;
}

/** A dangling link exists, and keeps a constant stamp. */
function fileStampOf(path: string): string {
  try {
    return stampOf(path);
  } catch {
    return path;
  }
}

const confFiles = (confDir: string): string[] => confFilesIn(confDir, extensions);

const foldersIn = (confDir: string): string[] =>
  entriesOf(confDir)
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(confDir, name));

function confFilesIn(folder: string, suffixes: readonly string[]): string[] {
  return entriesOf(folder)
    .filter((entry) => suffixes.includes(extname(entry.name)) && !entry.isDirectory())
    .map(({ name }) => name)
    .toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => join(folder, name));
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch (thrown) {
    if ((thrown as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw unreadable(folder, folderReason(thrown, folder), 'name a folder that can be read', thrown);
  }
}

/** Reads a file of the conf folder. @throws NETWORK_CONFLIST_UNREADABLE */
export function readConfFile(file: string): string {
  try {
    const stats = statSync(file);
    // Reading a pipe would block, and a device may have no end.
    if (!stats.isFile()) throw new Error('it is not a file');
    if (stats.size > maxBytes) throw new Error(`larger than ${maxBytes} bytes`);
    return readFileSync(file, 'utf8');
  } catch (thrown) {
    throw unreadable(file, fileReason(thrown, file), 'make the file readable', thrown);
  }
}

function unreadable(path: string, why: string, fix: string, cause: unknown): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFLIST_UNREADABLE',
    kind: 'precondition',
    attempted: 'read the CNI configuration',
    on: path,
    why,
    fix: process.getuid?.() === 0 ? fix : 'run the command as root',
    cause,
  });
}

function invalid(confDir: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_CONFLIST_INVALID',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: confDir,
    why: problems.join('; '),
    fix: 'correct the file; it is read again at the next request',
    details: { problems },
  });
}

function unsupported(name: string, problems: readonly string[]): PortcullisError {
  return new PortcullisError({
    code: 'NETWORK_PLUGIN_UNSUPPORTED',
    kind: 'precondition',
    attempted: 'load the pod network',
    on: name,
    why: problems.join('; '),
    fix: 'use a version that is supported',
    details: { problems },
  });
}
