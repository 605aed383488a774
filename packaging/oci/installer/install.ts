import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  rmdirSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PortcullisError } from '../../../base/errors/index.ts';
import { tryLockFile } from '../../../base/kernel/index.ts';
import { insideHost } from './inside.ts';
import { contentName, copyDurably, payloadFiles, syncFolder, writeDurably } from './payload.ts';

export const home = '/opt/portcullis';
export const unitName = 'portcullisd.service';
const unitPath = `/etc/systemd/system/${unitName}`;
const wantsPath = `/etc/systemd/system/multi-user.target.wants/${unitName}`;
const programs = ['portcullis', 'portcullisd'].map((name) => ({
  link: `/usr/local/bin/${name}`,
  target: `${home}/current/packaging/bin/${name}`,
}));
/** The first line of the unit: a file without it belongs to somebody else. */
const marker =
  '# Written by the node installer of Portcullis. Change it by a drop-in: each upgrade replaces it.\n';
/** Exists from before the first change of a run until `finishNode`. */
const unfinished = `${home}/.unfinished`;
/** Where the Debian package has its files. */
const ofDebian = [
  '/usr/lib/portcullis',
  `/lib/systemd/system/${unitName}`,
  `/usr/lib/systemd/system/${unitName}`,
];

export interface Installed {
  /** Folder of this version on the host. */
  readonly folder: string;
  /** Whether a file of the host was changed, by this run or by one that was killed before `finishNode`. */
  readonly changed: boolean;
  /** The same for the unit. */
  readonly unitChanged: boolean;
}

/**
 * Puts the files of a node in place below /opt/portcullis, with links in /usr/local/bin and the unit. Nothing
 * is started or enabled. A repetition changes nothing, and one that was killed is completed by the next one:
 * the link `current` is switched only after every file is on the disk. Earlier versions that a process still
 * runs from are kept.
 * @param root where the root of the host is mounted
 * @param payload the package of Portcullis, as the images contain it
 * @throws PortcullisError NODE_INSTALL_CONFLICT if another installation is in the way, NODE_INSTALL_BUSY
 * while another run writes to the node
 */
export function installNode(root: string, payload: string): Installed {
  refuseOthers(root);
  mkdirSync(insideHost(root, `${home}/versions/.`), { recursive: true, mode: 0o755 });
  return alone(root, () => installAlone(root, payload));
}

/** Records that systemd was notified of the changes of `installNode`. */
export function finishNode(root: string): void {
  rmSync(insideHost(root, unfinished), { force: true });
}

function installAlone(root: string, payload: string): Installed {
  const at = (path: string): string => insideHost(root, path);
  const { version } = JSON.parse(readFileSync(join(payload, 'package.json'), 'utf8')) as { version: string };
  const files = payloadFiles(payload);
  const name = contentName(version, files);
  const versions = at(`${home}/versions/.`);
  const wasKilled = existsSync(at(unfinished));
  const begin = (): void => {
    if (!existsSync(at(unfinished))) writeDurably(at(unfinished), Buffer.alloc(0), 0o644);
  };
  const folder = join(versions, name);
  const isComplete = existsSync(folder) && contentName(version, payloadFiles(folder)) === name;
  if (!isComplete) {
    begin();
    place(payload, files, folder);
  }

  let changed = wasKilled || !isComplete;
  const link = (path: string, target: string): void => {
    if (linkTarget(at(path)) === target) return;
    begin();
    putLink(at(path), target);
    changed = true;
  };
  link(`${home}/current`, `versions/${name}`);
  for (const { link: path, target } of programs) link(path, target);
  const unit = marker + readFileSync(join(payload, 'packaging/systemd', unitName), 'utf8');
  const hasUnit = existsSync(at(unitPath)) && readFileSync(at(unitPath), 'utf8') === unit;
  if (!hasUnit) {
    begin();
    putFile(at(unitPath), unit);
  }
  removeUnused(root, versions, name);
  const unitChanged = wasKilled || !hasUnit;
  return { folder: `${home}/versions/${name}`, changed: changed || unitChanged, unitChanged };
}

/**
 * Calls `run` while no other run writes to the node. The kernel ends the lock with the process.
 * @throws PortcullisError NODE_INSTALL_BUSY
 */
function alone<Result>(root: string, run: () => Result): Result {
  const handle = openSync(insideHost(root, `${home}/.`), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    if (!tryLockFile(handle))
      throw new PortcullisError({
        ...{ code: 'NODE_INSTALL_BUSY', kind: 'unavailable' },
        ...{ attempted: 'change the installation on the node', on: home },
        why: 'another installer is changing it',
        fix: 'wait until the other installer has ended: the kubelet tries again',
      });
    return run();
  } finally {
    closeSync(handle);
  }
}

/**
 * Removes what the installer wrote, and the link that enables the unit. Configuration, images and the state
 * of the daemon stay. A repetition changes nothing.
 * @throws PortcullisError NODE_INSTALL_RUNNING while a process runs from the files, NODE_INSTALL_BUSY while
 * another run writes to the node
 */
export function removeNode(root: string): { readonly changed: boolean } {
  const isThere = existsSync(insideHost(root, `${home}/.`));
  return isThere ? alone(root, () => removeAlone(root)) : removeAlone(root);
}

function removeAlone(root: string): { readonly changed: boolean } {
  const used = usedVersions(root);
  const [pid] = used.values();
  if (used.size > 0)
    throw new PortcullisError({
      ...{ code: 'NODE_INSTALL_RUNNING', kind: 'precondition' },
      ...{ attempted: 'remove Portcullis from the node', on: home },
      why: `${pid === undefined ? 'a process' : `process ${pid}`} runs from it`,
      fix: 'drain the node and stop portcullisd, or set stop (nodeInstaller.stop of the chart)',
    });
  const at = (path: string): string => insideHost(root, path);
  const ours: string[] = [];
  if (isOurUnit(at(unitPath))) {
    if (isLink(at(wantsPath))) ours.push(at(wantsPath));
    ours.push(at(unitPath));
  }
  for (const { link, target } of programs) if (linkTarget(at(link)) === target) ours.push(at(link));
  // This is last, so that the next run after a kill knows what is left.
  const inHome = ['current', 'versions'].map((name) => `${home}/${name}`);
  const written = [...programs.map(({ link }) => link), unitPath, `${home}/current`];
  for (const path of [...written.map(partialOf), unfinished, ...inHome])
    if (lstatSync(at(path), { throwIfNoEntry: false }) !== undefined) ours.push(at(path));
  for (const path of ours) rmSync(path, { recursive: true, force: true });
  // Links and other files belong to the administrator.
  if (!isLink(at(home)) && existsSync(at(home)) && readdirSync(at(home)).length === 0) rmdirSync(at(home));
  return { changed: ours.length > 0 };
}

/** Returns whether the administrator, or an earlier run, has enabled the unit. */
export function isEnabled(root: string): boolean {
  return isLink(insideHost(root, wantsPath));
}

/**
 * Returns the versions that a process of the host runs from, and the number of the process, if it is known.
 * The Node of a process is compared by its inode, because a pod may have a program at any path. Where the
 * kernel hides a process, it still refuses to open its program for writing (ETXTBSY).
 * @param except a version that is not checked: opening a program for writing delays its start
 */
export function usedVersions(root: string, except = ''): ReadonlyMap<string, number | undefined> {
  const versions = insideHost(root, `${home}/versions/.`);
  const programs = globSync('{*,.*}/node_modules/node-linux-*/bin/node', { cwd: versions }).map((path) => ({
    version: path.split('/')[0] ?? '',
    file: join(versions, path),
  }));
  const proc = join(root, 'proc');
  const pids = existsSync(proc) ? readdirSync(proc).filter((name) => /^\d+$/u.test(name)) : [];
  const running = new Map(pids.map((pid) => [identity(join(proc, pid, 'exe')), Number(pid)]));
  running.delete(undefined);
  return new Map(
    programs
      .filter(({ version }) => version !== except)
      .filter(({ file }) => running.has(identity(file)) || isBusy(file))
      .map(({ version, file }) => [version, running.get(identity(file))]),
  );
}

function identity(file: string): string | undefined {
  try {
    const { dev, ino } = statSync(file);
    return `${dev}:${ino}`;
  } catch {
    // The process ended, is a thread of the kernel, or is hidden.
    return undefined;
  }
}

function isBusy(file: string): boolean {
  try {
    closeSync(openSync(file, constants.O_WRONLY | constants.O_NOFOLLOW));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ETXTBSY';
  }
}

function refuseOthers(root: string): void {
  const at = (path: string): string => insideHost(root, path);
  // A link of the host may lead to a path that does not exist in this container.
  const exists = (path: string): boolean => lstatSync(at(path), { throwIfNoEntry: false }) !== undefined;
  const foreign = [
    ...ofDebian.filter(exists),
    ...programs
      .filter(({ link, target }) => exists(link) && linkTarget(at(link)) !== target)
      .map(({ link }) => link),
    ...(exists(unitPath) && !isOurUnit(at(unitPath)) ? [unitPath] : []),
    ...(exists(`${home}/current`) && !isLink(at(`${home}/current`)) ? [`${home}/current`] : []),
    ...[home, `${home}/versions`].filter((path) => isOpenToOthers(at(`${path}/.`))),
  ];
  if (foreign.length > 0)
    throw new PortcullisError({
      ...{ code: 'NODE_INSTALL_CONFLICT', kind: 'precondition' },
      ...{ attempted: 'install Portcullis on the node', on: foreign.join(', ') },
      why: 'the node has these files of another installation, or another user may change them',
      fix: 'remove that installation first, such as by apt-get remove portcullis; chown root and chmod 755 a folder',
    });
}

/** Whether another user than root could put a program in place of the installed one. */
function isOpenToOthers(folder: string): boolean {
  const facts = statSync(folder, { throwIfNoEntry: false });
  if (facts === undefined) return false;
  return !facts.isDirectory() || facts.uid !== process.getuid?.() || (facts.mode & 0o022) !== 0;
}

function place(payload: string, files: ReturnType<typeof payloadFiles>, folder: string): void {
  const partial = join(dirname(folder), `.${basename(folder)}`);
  rmSync(partial, { recursive: true, force: true });
  try {
    mkdirSync(partial, { mode: 0o755 });
    copyDurably(payload, partial, files);
    // A damaged folder is moved away: processes that run from it keep their files.
    if (existsSync(folder)) renameSync(folder, join(dirname(folder), `.damaged-${basename(folder)}`));
    renameSync(partial, folder);
    syncFolder(dirname(folder));
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

/** Removes the versions that no process runs from, and what a killed run left. */
function removeUnused(root: string, versions: string, current: string): void {
  const used = usedVersions(root, current);
  for (const name of readdirSync(versions))
    if (name !== current && !used.has(name)) rmSync(join(versions, name), { recursive: true, force: true });
}

/** A name that no other program uses. */
function partialOf(path: string): string {
  return join(dirname(path), `.${basename(path)}.portcullis-new`);
}

function putLink(path: string, target: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const partial = partialOf(path);
  rmSync(partial, { force: true });
  symlinkSync(target, partial);
  renameSync(partial, path);
  syncFolder(dirname(path));
}

function putFile(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const partial = partialOf(path);
  rmSync(partial, { force: true });
  writeDurably(partial, Buffer.from(text), 0o644);
  chmodSync(partial, 0o644);
  renameSync(partial, path);
  syncFolder(dirname(path));
}

function isOurUnit(path: string): boolean {
  const facts = lstatSync(path, { throwIfNoEntry: false });
  return facts?.isFile() === true && readFileSync(path, 'utf8').startsWith(marker);
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
