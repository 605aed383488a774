import { lstat, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { cachedFile } from '../../base/kernel/index.ts';
import type { FilePart } from '../../base/files/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { FolderContent, FolderFile } from './folder-files.ts';
import { createHelpers } from './helpers.ts';
import type { Helpers } from './helpers.ts';
import { inheritance, makeFile, moveFile, ownFacts } from './look-ups.ts';
import type { FileText } from './file-text.ts';
import type { PathFacts } from './look-ups.ts';
import type { ContainerPlan } from '../container-mounts/created-container.ts';
import type { AskedPlace } from '../container-mounts/command-paths-check.ts';

/**
 * Files and folders of the host that a pod names, or that may be on a file system which the daemon does not
 * control. If the kernel has the answer in memory, it comes at once; every other question is asked in a
 * separate process, within a time limit.
 * @throws each Error with the `code` of the system (ENOENT), or PortcullisError RUNTIME_PATH_NO_ANSWER (kind
 * deadline)
 */
export interface HostPaths {
  /** Follows links. */
  facts(path: string): Promise<PathFacts>;
  /** Does not follow a link: returns the facts of the link itself. */
  ownFacts(path: string): Promise<PathFacts>;
  linkTarget(path: string): Promise<string>;
  names(folder: string): Promise<readonly string[]>;
  /** Returns the text files of a configuration folder and of its subfolders. */
  folderFiles(folder: string): Promise<readonly FolderFile[]>;
  /** Returns the content of each file, one character per byte, of at most `limit` bytes. */
  folderContents(folder: string, names: readonly string[], limit: number): Promise<readonly FolderContent[]>;
  /** Reads a regular file of at most `limit` bytes. */
  text(path: string, limit: number): Promise<FileText>;
  /**
   * Reads at most `most` bytes of a regular file from `start` on. Does not follow a link at the end of the
   * path.
   */
  filePart(path: string, start: number, most: number): Promise<FilePart>;
  /** Creates the folder and the folders above it. @returns the uppermost folder that was created */
  makeFolder(path: string, mode: number): Promise<string | undefined>;
  /**
   * Gives a file another name in its folder, whose path must be the real one. @throws Error ELOOP when a link
   * is in place of a part of it
   */
  renameBeside(path: string, name: string): Promise<void>;
  /**
   * Returns what a file that is created in a folder gets from it: see `inheritanceOf` of base/kernel. A
   * missing folder will have that of the nearest existing one.
   */
  inheritance(folder: string): Promise<string>;
  /**
   * Moves a file of the daemon to a path on the same mount, where it replaces a file. The path of the folder
   * must be the real one, as for {@link renameBeside}.
   */
  moveFile(from: string, to: string): Promise<void>;
  /** Absent: success. The path of the folder must be the real one, as for {@link renameBeside}. */
  removeFile(path: string): Promise<void>;
  /**
   * Creates an empty file, regardless of the umask. An existing file stays unchanged. The path of the folder
   * must be the real one, as for {@link renameBeside}.
   */
  makeFile(path: string, mode: number): Promise<void>;
  /**
   * Sets the mode of a regular file; never follows a link. The path of the folder must be the real one, as
   * for {@link renameBeside}.
   */
  setFileMode(path: string, mode: number): Promise<void>;
  /**
   * Prepares for a program that writes the file `by` and renames it to `path`, so that this needs no more
   * space and no more files of the file system. Afterwards `by` is a writable regular file, and `path` is not
   * a folder. `by` begins with `path`. The path of the folder must be the real one, as for
   * {@link renameBeside}.
   */
  makeReplaceable(path: string, by: string, mode: number): Promise<void>;
  /**
   * Removes a log to which nothing was written, and the folders from `uppermost` on that were created for it.
   * Both paths must be real ones, as for {@link renameBeside}.
   */
  removeEmptyLog(log: string, uppermost: string | undefined): Promise<void>;
  /**
   * Returns an identifier of the file at a path, which no other file has at the same time, and whether a
   * process has the file open. Does not follow a link at the end of the path.
   */
  openedBy(path: string, pid: number): Promise<{ readonly file?: string; readonly isOpen: boolean }>;
  /**
   * Checks the place of a command in a container. @throws PortcullisError as checkPlace of
   * runtime/container-mounts
   */
  checkPlace(asked: AskedPlace): Promise<void>;
  /** @throws PortcullisError as checkMadeContainer of runtime/container-mounts */
  checkMadeContainer(container: string, init: number, plan: ContainerPlan): Promise<void>;
  /** @throws PortcullisError as checkIdmap of base/kernel */
  checkIdmap(path: string, userNamespace: string): Promise<void>;
}

export interface OpenHostPaths extends HostPaths {
  /** Ends every process; pending questions fail. */
  close(): Promise<void>;
}

const S_IFMT = 0o170000;
/** File types of inode(7). */
const types = {
  folder: 0o040000,
  character: 0o020000,
  block: 0o060000,
  link: 0o120000,
  file: 0o100000,
} as const;

/** Whether the file is of the type. */
export function isOf(facts: Pick<PathFacts, 'mode'>, type: keyof typeof types): boolean {
  return (facts.mode & S_IFMT) === types[type];
}

/** Whether the error means that the file system did not answer, which says nothing about the path. */
export function hasNoAnswer(thrown: unknown): thrown is PortcullisError {
  return isPortcullisError(thrown) && thrown.code.startsWith('RUNTIME_PATH_');
}

/** Returns the error in the form of the system. */
function missing(path: string): Error {
  return Object.assign(
    new Error(`ENOENT: no such file or directory, ${JSON.stringify(path.slice(0, 512))}`),
    { code: 'ENOENT' },
  );
}

/**
 * @param own folders of the daemon: questions about their file systems, and about that of `/`, need no
 * separate process, because the daemon depends on these file systems anyway
 */
export async function openHostPaths(
  startProgram: StartProgram,
  own: readonly string[],
): Promise<OpenHostPaths> {
  const helpers = createHelpers(startProgram);
  const ownDevices = new Set<string>();
  for (const folder of ['/', ...own]) {
    await stat(folder);
    const found = cachedFile(folder, { followLink: true });
    if (found !== undefined && found !== 'missing') ownDevices.add(found.device);
  }
  return { ...hostPathsBy(helpers.ask, ownDevices), close: helpers.close };
}

/** @param ask asks a question in a process that may hang without harm */
export function hostPathsBy(ask: Helpers['ask'], ownDevices: ReadonlySet<string> = new Set()): HostPaths {
  const cached = (path: string, followLink: boolean): PathFacts | undefined => {
    const found = path.includes('\0') ? undefined : cachedFile(path, { followLink });
    if (found === 'missing') throw missing(path);
    return found;
  };
  /**
   * Whether the folder above a folder to be created is in the kernel's caches and on the daemon's own file
   * systems. For the part of the path that the caches do not know, asks that file system, without following a
   * link.
   */
  const isOwn = async (path: string): Promise<boolean> => {
    let unknown: string | undefined;
    for (let folder = path; ; folder = dirname(folder)) {
      const found = cachedFile(folder, { followLink: true });
      if (found === undefined) unknown = folder;
      else if (found !== 'missing') {
        if (!ownDevices.has(found.device)) return false;
        if (unknown === undefined) return true;
        const isMissing = await lstat(unknown).then(
          () => false,
          (thrown: unknown) => (thrown as NodeJS.ErrnoException).code === 'ENOENT',
        );
        // An existing path is in the caches by now, unless it is a link to a path that is not.
        return isMissing || (cachedFile(unknown, { followLink: true }) !== undefined && isOwn(path));
      }
      if (folder === dirname(folder)) return false;
    }
  };
  return {
    facts: async (path) => cached(path, true) ?? ask(path, 'facts', path),
    ownFacts: async (path) => {
      const found = cached(path, false);
      if (found !== undefined) return found;
      return !path.includes('\0') && (await isOwn(dirname(path)))
        ? ownFacts(path)
        : ask(path, 'ownFacts', path);
    },
    linkTarget: (path) => ask(path, 'linkTarget', path),
    names: (folder) => ask(folder, 'names', folder),
    folderFiles: (folder) => ask(folder, 'folderFiles', folder),
    folderContents: (folder, names, limit) => ask(folder, 'folderContents', folder, names, limit),
    text: (path, limit) => ask(path, 'text', path, limit),
    filePart: async (path, start, most) => {
      const part = await ask(path, 'filePart', path, start, most);
      return 'refused' in part ? part : { bytes: Buffer.from(part.base64, 'base64'), size: part.size };
    },
    makeFolder: async (path, mode) => {
      const found = cachedFile(path, { followLink: true });
      if (found !== undefined && found !== 'missing' && isOf(found, 'folder')) return undefined;
      return (await isOwn(path)) ? makeFolder(path, mode) : ask(path, 'makeFolder', path, mode);
    },
    makeFile: async (path, mode) =>
      (await isOwn(dirname(path))) ? makeFile(path, mode) : ask(path, 'makeFile', path, mode),
    setFileMode: (path, mode) => ask(path, 'setFileMode', path, mode),
    renameBeside: (path, name) => ask(path, 'renameBeside', path, name),
    inheritance: async (path) => ((await isOwn(path)) ? inheritance(path) : ask(path, 'inheritance', path)),
    moveFile: async (from, to) =>
      (await isOwn(dirname(to))) ? moveFile(from, to) : ask(to, 'moveFile', from, to),
    removeFile: (path) => ask(path, 'removeFile', path),
    makeReplaceable: (path, by, mode) => ask(path, 'makeReplaceable', path, by, mode),
    removeEmptyLog: (log, uppermost) => ask(log, 'removeEmptyLog', log, uppermost),
    openedBy: (path, pid) => ask(path, 'openedBy', path, pid),
    checkPlace: (asked) => ask(inContainer(asked.container, asked.place.cwd), 'checkPlace', asked),
    checkMadeContainer: (container, init, plan) =>
      ask(inContainer(container, plan.place.cwd), 'checkMadeContainer', container, init, plan),
    checkIdmap: (path, userNamespace) => ask(path, 'checkIdmap', path, userNamespace),
  };
}

/** Containers wait only for their own volumes. */
const inContainer = (
  container: string,
  path: string,
): { readonly path: string; readonly subject: string } => ({
  path,
  subject: `a volume of container ${container.slice(0, 13)}`,
});
