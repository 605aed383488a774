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
  statSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { PortcullisError } from '../../../base/errors/index.ts';
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
/** Where the Debian package has its files. */
const ofDebian = [
  '/usr/lib/portcullis',
  `/lib/systemd/system/${unitName}`,
  `/usr/lib/systemd/system/${unitName}`,
];

export interface Installed {
  /** Folder of this version on the host. */
  readonly folder: string;
  /** Whether a file of the host was changed. */
  readonly changed: boolean;
  readonly unitChanged: boolean;
}

/**
 * Puts the files of a node in place below /opt/portcullis, with links in /usr/local/bin and the unit. Nothing
 * is started or enabled. A repetition changes nothing, and one that was killed is completed by the next one:
 * the link `current` is switched only after every file is on the disk. Earlier versions that a process still
 * runs from are kept.
 * @param root where the root of the host is mounted
 * @param payload the package of Portcullis, as the images contain it
 * @throws PortcullisError NODE_INSTALL_CONFLICT if another installation is in the way
 */
export function installNode(root: string, payload: string): Installed {
  const at = (path: string): string => insideHost(root, path);
  refuseOthers(root);
  const { version } = JSON.parse(readFileSync(join(payload, 'package.json'), 'utf8')) as { version: string };
  const files = payloadFiles(payload);
  const name = contentName(version, files);
  const versions = at(`${home}/versions/.`);
  mkdirSync(versions, { recursive: true, mode: 0o755 });
  const folder = join(versions, name);
  const isComplete = existsSync(folder) && contentName(version, payloadFiles(folder)) === name;
  if (!isComplete) place(payload, files, folder);

  let changed = !isComplete;
  const link = (path: string, target: string): void => {
    if (putLink(at(path), target)) changed = true;
  };
  link(`${home}/current`, `versions/${name}`);
  for (const { link: path, target } of programs) link(path, target);
  const unit = marker + readFileSync(join(payload, 'packaging/systemd', unitName), 'utf8');
  const unitChanged = putFile(at(unitPath), unit);
  removeUnused(root, versions, name);
  return { folder: `${home}/versions/${name}`, changed: changed || unitChanged, unitChanged };
}

/**
 * Removes what the installer wrote, and the link that enables the unit. Configuration, images and the state
 * of the daemon stay. A repetition changes nothing.
 * @throws PortcullisError NODE_INSTALL_RUNNING while a process runs from the files
 */
export function removeNode(root: string): { readonly changed: boolean } {
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
  // Last, so that a run that is killed before knows what is left.
  if (existsSync(at(home))) ours.push(at(home));
  for (const path of ours) rmSync(path, { recursive: true, force: true });
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
 * @param except a version that is not looked at: to open a program for writing delays its start
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
  const foreign = [
    ...ofDebian.filter((path) => existsSync(at(path))),
    ...programs
      .filter(({ link, target }) => {
        const found = at(link);
        return lstatSync(found, { throwIfNoEntry: false }) !== undefined && linkTarget(found) !== target;
      })
      .map(({ link }) => link),
    ...(existsSync(at(unitPath)) && !isOurUnit(at(unitPath)) ? [unitPath] : []),
  ];
  if (foreign.length > 0)
    throw new PortcullisError({
      ...{ code: 'NODE_INSTALL_CONFLICT', kind: 'precondition' },
      ...{ attempted: 'install Portcullis on the node', on: foreign.join(', ') },
      why: 'the node has these files of another installation',
      fix: 'remove that installation first, such as by apt-get remove portcullis',
    });
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

function putLink(path: string, target: string): boolean {
  if (linkTarget(path) === target) return false;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const partial = `${path}.new`;
  rmSync(partial, { force: true });
  symlinkSync(target, partial);
  renameSync(partial, path);
  syncFolder(dirname(path));
  return true;
}

function putFile(path: string, text: string): boolean {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return false;
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const partial = `${path}.new`;
  rmSync(partial, { force: true });
  writeDurably(partial, Buffer.from(text), 0o644);
  chmodSync(partial, 0o644);
  renameSync(partial, path);
  syncFolder(dirname(path));
  return true;
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
