import { lstat, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isPortcullisError } from '../../base/errors/index.ts';
import type { PortcullisError } from '../../base/errors/index.ts';
import { cachedFile } from '../../base/kernel/index.ts';
import { makeFolder } from '../../base/storage/index.ts';
import type { StartProgram } from '../../base/reactor/index.ts';
import type { FolderContent, FolderFile } from './folder-files.ts';
import { createHelpers } from './helpers.ts';
import type { Helpers } from './helpers.ts';
import { makeFile } from './look-ups.ts';
import type { FileText } from './file-text.ts';
import type { PathFacts } from './look-ups.ts';
import type { ContainerPlan } from '../oci/made-container.ts';
import type { AskedPlace } from '../oci/place-check.ts';

/**
 * Files and folders of the host that a pod names, or that may lead to a file system of somebody else. Whatever the kernel holds in memory is
 * answered at once; anything else is asked in a process of its own, within a time limit.
 * @throws each Error with the `code` of the system (ENOENT), or PortcullisError RUNTIME_PATH_NO_ANSWER (kind deadline)
 */
export interface HostPaths {
  /** Links followed. */
  facts(path: string): Promise<PathFacts>;
  /** Of the link itself where it is one. */
  ownFacts(path: string): Promise<PathFacts>;
  linkTarget(path: string): Promise<string>;
  names(folder: string): Promise<readonly string[]>;
  /** The text files of a folder of configuration, and of folders in it. */
  folderFiles(folder: string): Promise<readonly FolderFile[]>;
  /** The content of each, a character a byte, of at most `limit` bytes. */
  folderContents(folder: string, names: readonly string[], limit: number): Promise<readonly FolderContent[]>;
  /** A plain file of at most `limit` bytes. */
  text(path: string, limit: number): Promise<FileText>;
  /** With the folders above it. @returns the uppermost that had to be made */
  makeFolder(path: string, mode: number): Promise<string | undefined>;
  /** An empty file, whatever the umask is. One that is there stays as it is. */
  makeFile(path: string, mode: number): Promise<void>;
  /** Of a plain file: never of what a link leads to. */
  setFileMode(path: string, mode: number): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Absent: success. */
  removeFile(path: string): Promise<void>;
  /**
   * So that a program which writes the file `by` and renames it to `path` needs no space and no file of the file system: both are there afterwards,
   * `by` is a plain file that can be written, `path` is no folder.
   */
  makeReplaceable(path: string, by: string, mode: number): Promise<void>;
  /** Takes back a log that nothing was written to, and the folders from `uppermost` on that were made for it. */
  removeEmptyLog(log: string, uppermost: string | undefined): Promise<void>;
  /** Which file stands at a path, in terms that no other has at the same time, and whether a process has it open. */
  openedBy(path: string, pid: number): Promise<{ readonly file?: string; readonly isOpen: boolean }>;
  /** What a command meets in a container. @throws PortcullisError as checkPlace of runtime/oci */
  checkPlace(asked: AskedPlace): Promise<void>;
  /** @throws PortcullisError as checkMadeContainer of runtime/oci */
  checkMadeContainer(container: string, init: number, plan: ContainerPlan): Promise<void>;
  /** @throws PortcullisError as checkIdmap of base/kernel */
  checkIdmap(path: string, userNamespace: string): Promise<void>;
}

export interface OpenHostPaths extends HostPaths {
  /** Ends every process; what is asked fails. */
  close(): Promise<void>;
}

const S_IFMT = 0o170000;
/** Types of inode(7). */
const types = { folder: 0o040000, character: 0o020000, block: 0o060000, link: 0o120000, file: 0o100000 } as const;

/** Whether it is of a type. */
export function isOf(facts: Pick<PathFacts, 'mode'>, type: keyof typeof types): boolean {
  return (facts.mode & S_IFMT) === types[type];
}

/** Whether nobody answered, which says nothing of the path. */
export function hasNoAnswer(thrown: unknown): thrown is PortcullisError {
  return isPortcullisError(thrown) && thrown.code.startsWith('RUNTIME_PATH_');
}

/** As the system says it. */
function missing(path: string): Error {
  return Object.assign(new Error(`ENOENT: no such file or directory, ${JSON.stringify(path.slice(0, 512))}`), { code: 'ENOENT' });
}

/** @param own folders of the daemon: on their file systems, and on that of `/`, nothing is asked that the daemon does not depend on anyway */
export async function openHostPaths(startProgram: StartProgram, own: readonly string[]): Promise<OpenHostPaths> {
  const helpers = createHelpers(startProgram);
  const ownDevices = new Set<string>();
  for (const folder of ['/', ...own]) {
    await stat(folder);
    const found = cachedFile(folder, { followLink: true });
    if (found !== undefined && found !== 'missing') ownDevices.add(found.device);
  }
  return { ...hostPathsBy(helpers.ask, ownDevices), close: helpers.close };
}

/** @param ask puts a question to whatever can be lost */
export function hostPathsBy(ask: Helpers['ask'], ownDevices: ReadonlySet<string> = new Set()): HostPaths {
  const cachedOr = async (path: string, followLink: boolean): Promise<PathFacts> => {
    const found = path.includes('\0') ? undefined : cachedFile(path, { followLink });
    if (found === 'missing') throw missing(path);
    return found ?? ask(path, followLink ? 'facts' : 'ownFacts', path);
  };
  /**
   * Whether a folder to be made lies in one that the caches hold and that is the daemon's own file system. What the caches do not know below such a
   * folder is asked of that file system: a link is not followed.
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
        // What is there is known by now, unless it is a link to somewhere that is not.
        return isMissing || (cachedFile(unknown, { followLink: true }) !== undefined && isOwn(path));
      }
      if (folder === dirname(folder)) return false;
    }
  };
  return {
    facts: (path) => cachedOr(path, true),
    ownFacts: (path) => cachedOr(path, false),
    linkTarget: (path) => ask(path, 'linkTarget', path),
    names: (folder) => ask(folder, 'names', folder),
    folderFiles: (folder) => ask(folder, 'folderFiles', folder),
    folderContents: (folder, names, limit) => ask(folder, 'folderContents', folder, names, limit),
    text: (path, limit) => ask(path, 'text', path, limit),
    makeFolder: async (path, mode) => {
      const found = cachedFile(path, { followLink: true });
      if (found !== undefined && found !== 'missing' && isOf(found, 'folder')) return undefined;
      return (await isOwn(path)) ? makeFolder(path, mode) : ask(path, 'makeFolder', path, mode);
    },
    makeFile: async (path, mode) => ((await isOwn(dirname(path))) ? makeFile(path, mode) : ask(path, 'makeFile', path, mode)),
    setFileMode: (path, mode) => ask(path, 'setFileMode', path, mode),
    rename: (from, to) => ask(from, 'rename', from, to),
    removeFile: (path) => ask(path, 'removeFile', path),
    makeReplaceable: (path, by, mode) => ask(path, 'makeReplaceable', path, by, mode),
    removeEmptyLog: (log, uppermost) => ask(log, 'removeEmptyLog', log, uppermost),
    openedBy: (path, pid) => ask(path, 'openedBy', path, pid),
    checkPlace: (asked) => ask(inContainer(asked.container, asked.place.cwd), 'checkPlace', asked),
    checkMadeContainer: (container, init, plan) => ask(inContainer(container, plan.place.cwd), 'checkMadeContainer', container, init, plan),
    checkIdmap: (path, userNamespace) => ask(path, 'checkIdmap', path, userNamespace),
  };
}

/** Containers wait for their own volumes alone. */
const inContainer = (container: string, path: string): { readonly path: string; readonly subject: string } => ({
  path,
  subject: `a volume of container ${container.slice(0, 13)}`,
});
