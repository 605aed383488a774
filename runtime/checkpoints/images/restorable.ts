import { append } from '../../../base/lists/index.ts';
import type { OciSpec } from '../../oci/spec.types.ts';
import { excessOf } from './compare.ts';
import type { Excess } from './compare.ts';
import { readMappedFiles } from './memory.ts';
import type { MappedFile } from './memory.ts';
import { whyNotMounted } from './restorable-mounts.ts';
import { readRights, readersOf } from './read-rights.ts';
import type { Images } from './read-rights.ts';
import type { NamespaceKind } from './rights.ts';
import { whyNotStopped } from './signals.ts';
import { BadImage } from './strict-message.ts';
import type { Message } from './strict-message.ts';

/** The specification with which a container is restored. */
export type RestoreSpec = Pick<OciSpec, 'process' | 'root' | 'mounts' | 'linux'>;

/** The content of images that a restore needs to know. */
export interface Restorable {
  /** Every right or object that a restore does not accept. Empty: the images may be restored. */
  readonly refused: readonly Excess[];
  /** The numbers of the temporary file systems, which name their archives, by mount point. */
  readonly tmpfs: ReadonlyMap<string, number>;
  /** Files of the root file system that criu opens for the processes. */
  readonly files: readonly OpenedFile[];
  /** The number of the network namespace in the images. */
  readonly network: number | undefined;
  /** The numbers of the node's namespaces in the images. */
  readonly ofNode: Readonly<Record<NamespaceKind, number | undefined>>;
  /** The numbers of the sets of cgroups in the images. */
  readonly cgroupSets: readonly number[];
}

export interface OpenedFile {
  readonly name: string;
  /** Access mode of open(2): 0 read, 1 write, 2 both. */
  readonly access: number;
}

/** The images that a restore gives to criu, as they are. */
const copied =
  /^(?:(?:inventory|pstree|files|pipes-data|timens-0)\.img|(?:core|ids|fdinfo|fs|mm|pagemap|pages|mountpoints|pagemap-shmem|pages-shmem)-\d{1,10}\.img)$/;
/** The images in whose place a restore writes its own, or none. */
const replaced =
  /^(?:descriptors\.json|seccomp\.img|cgroup\.img|stats-dump|(?:utsns|ipcns-var|netns)-\d{1,10}\.img|tmpfs-dev-\d{1,10}\.tar\.gz\.img)$/;

/** Whether criu gets this image of the archive. */
export const isCopied = (name: string): boolean => copied.test(name);
/** Whether a restore writes its own image in place of this image of the archive, or none. */
export const isReplaced = (name: string): boolean => replaced.test(name);

/** The audit id that means "not set". A process of a container has no login. */
const noLogin = 0xffffffffn;
/** Access modes, O_{APPEND,NONBLOCK,DSYNC,LARGEFILE,DIRECTORY,NOFOLLOW,NOATIME,CLOEXEC}. */
const plainFlags = 0o3 | 0o2000 | 0o4000 | 0o10000 | 0o100000 | 0o200000 | 0o400000 | 0o1000000 | 0o2000000;
/** ADDR_NO_RANDOMIZE and READ_IMPLIES_EXEC do not matter, but a plain process has neither. */
const plainPersonality = 0n;
/** Devices without a state, which every container may open. */
const plainDevices = new Set(['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom']);
const fileTypes = { mask: 0o170000, device: 0o020000 };

/**
 * Decides whether criu may restore the images of a checkpoint with a specification. Pure. In addition to the
 * rights of each process ({@link excessOf}), it checks everything that criu does as root for a process: the
 * mounts, the files that it opens, the owners of signals. What is not known to be plain is refused. The bit
 * `no_new_privs`, the filter of system calls and the label are not taken from the images, so that they are
 * not compared here: see the folder `restore`.
 * @throws BadImage if the images cannot be read in exactly one way
 */
export function restorable(images: Images, spec: RestoreSpec): Restorable {
  const foreign = images.names.filter((name) => !copied.test(name) && !replaced.test(name));
  const rights = readRights(images);
  const { single, many } = readersOf(images);
  const without = { ...spec.process, noNewPrivileges: false };
  const bound = { spec: { ...spec, process: without }, filters: undefined };
  // The names are judged above.
  const found: Excess[] = [
    ...foreign.map((name) => unknown(`the image ${JSON.stringify(name.slice(0, 100))}`)),
    ...excessOf({ ...rights, unread: [] }, bound),
    ...ofInventory(single('inventory', 'Inventory')),
  ];
  if (spec.process.capabilities.ambient.length > 0)
    found.push(unknown('ambient capabilities, which criu before 3.19 does not record'));
  for (const thread of rights.threads) {
    const who = `process ${thread.tid ?? thread.pid}`;
    if (thread.capabilities.ambient !== 0n) found.push(more(`${who} has ambient capabilities`));
    if (thread.strictCalls) found.push(unknown(`${who} runs in the strict mode of seccomp`));
    if (spec.linux.seccomp !== undefined && (thread.filters ?? []).length === 0)
      found.push(more(`${who} has no filter of system calls`));
  }
  // It must be readable. It only moves clocks of the processes.
  if (images.names.includes('timens-0.img')) single('timens', 'Timens', 0);
  const files = many('files', 'File', 'files.img');
  const rootMounts = new Set<unknown>();
  const open = new Set<number>();
  const mapped: MappedFile[] = [];
  const tree = new Map(
    many('pstree', 'PstreeEntry', 'pstree.img').map((entry) => [Number(entry['pid']), entry]),
  );
  for (const { pid, files: own } of rights.processes) {
    for (const file of own) open.add(file);
    const core = single('core', 'CoreEntry', pid);
    append(found, ofProcess(pid, core));
    append(found, ofPlace(pid, tree.get(pid), core, single));
    append(mapped, readMappedFiles(pid, single('mm', 'Mm', pid)));
    const root = rootOf(single('fs', 'Fs', pid), files);
    if (root?.['name'] !== '/') found.push(unknown(`process ${pid} has another root folder`));
    rootMounts.add(root?.['mntId']);
  }
  if (rootMounts.size > 1) found.push(unknown('processes with different root file systems'));
  const mountImages = images.names.filter((name) => /^mountpoints-\d+\.img$/.test(name));
  if (mountImages.length !== 1) throw new BadImage(`mountpoints: ${mountImages.length} images`);
  const mounts = many('mountpoints', 'Mount', mountImages[0] ?? '');
  const places = whyNotMounted(mounts, spec);
  append(found, places.refused.map(unknown));
  const [rootMount] = rootMounts;
  append(
    found,
    files.flatMap((file) => ofFile(file, spec, rootMount)),
  );
  const known = new Set(files.map((file) => Number(file['id'])));
  for (const { id } of mapped) open.add(id);
  for (const id of open) if (!known.has(id)) found.push(unknown(`a file with the number ${id}`));
  return {
    refused: found,
    tmpfs: places.tmpfs,
    files: openedFiles(files, mapped),
    ofNode: rights.ofNode,
    network: rights.processes[0]?.namespaces.net,
    cgroupSets: cgroupSetsOf(rights.threads, single),
  };
}

/** A file is opened for each way of access, which is that of its descriptors, or of a mapping. */
function openedFiles(files: readonly Message[], mapped: readonly MappedFile[]): OpenedFile[] {
  const opened = new Map<string, OpenedFile>();
  const named = new Map<number, string>();
  const add = (name: string, access: number): void => void opened.set(`${access} ${name}`, { name, access });
  for (const { id, reg } of files) {
    const { name, flags } = (reg ?? {}) as Message;
    if (name === undefined || plainDevices.has(name as string)) continue;
    named.set(Number(id), name as string);
    add(name as string, Number(flags) & 3);
  }
  for (const { id, access } of mapped) {
    const name = named.get(id);
    if (name !== undefined) add(name, access);
  }
  return [...opened.values()];
}

/** A process in a session of the node could send signals to the monitor of the container. */
function ofPlace(
  pid: number,
  entry: Message | undefined,
  core: Message,
  single: ReturnType<typeof readersOf>['single'],
): Excess[] {
  const found: Excess[] = [];
  for (const [name, what] of [
    ['sid', 'session'],
    ['pgid', 'process group'],
  ] as const)
    if (entry?.[name] === 0n) found.push(more(`process ${pid} is in a ${what} of the node`));
  const tids = ((entry?.['threads'] ?? []) as readonly bigint[]).map(Number);
  const others = tids.filter((tid) => tid !== pid).map((tid) => single('core', 'CoreEntry', tid));
  const parent = (entry?.['ppid'] ?? 0n) as bigint;
  append(found, whyNotStopped({ pid, parent, cores: [core, ...others] }).map(more));
  return found;
}

function cgroupSetsOf(
  threads: readonly { readonly pid: number; readonly tid: number | undefined }[],
  single: ReturnType<typeof readersOf>['single'],
): number[] {
  const sets = threads.flatMap(({ pid, tid }) => {
    const core = single('core', 'CoreEntry', tid ?? pid);
    const own = [core['tc'], core['threadCore']] as readonly (Message | undefined)[];
    return own.map((message) => message?.['cgSet'] as bigint | undefined);
  });
  return [...new Set(sets.filter((set) => set !== undefined).map(Number))];
}

function ofInventory(inventory: Message): Excess[] {
  const wants: readonly (readonly [string, readonly (bigint | undefined)[]])[] = [
    ['fdinfoPerId', [1n]],
    ['nsPerId', [1n]],
    ['preDumpMode', [undefined, 0n]],
    ['plugins', [undefined]],
    ['allowUprobes', [undefined, 0n]],
  ];
  return wants
    .filter(([name, values]) => !values.includes(inventory[name] as bigint | undefined))
    .map(([name]) => unknown(`the field ${name} of the inventory`));
}

function ofProcess(pid: number, core: Message): Excess[] {
  const task = core['tc'] as Message;
  const found: Excess[] = [];
  if (task['taskState'] !== 1n) found.push(unknown(`process ${pid} does not run`));
  if (task['personality'] !== plainPersonality) found.push(unknown(`process ${pid} has a personality`));
  if (task['loginuid'] !== undefined && task['loginuid'] !== noLogin)
    found.push(more(`process ${pid} has the login ${Number(task['loginuid'])}`));
  if (core['ids'] !== undefined) found.push(unknown(`numbers of process ${pid} in two images`));
  if (task['rlimits'] === undefined) found.push(unknown(`process ${pid} has no limits`));
  return found;
}

function rootOf(fs: Message, files: readonly Message[]): Message | undefined {
  return files.find((file) => file['id'] === fs['root'])?.['reg'] as Message | undefined;
}

/** @param root the number of the mount on which the root folder was opened */
function ofFile(file: Message, spec: RestoreSpec, root: unknown): Excess[] {
  const id = Number(file['id']);
  const reg = file['reg'] as Message | undefined;
  if (reg !== undefined) return ofRegular(reg, spec, root);
  const pipe = file['pipe'] as Message | undefined;
  if (pipe !== undefined) return ofOwner(id, pipe['fown'] as Message);
  return [unknown(`the descriptor ${id} is neither a file nor a pipe`)];
}

/** The owner of a file gets signals. criu sets the owner with the rights of any user. */
function ofOwner(id: number, owner: Message): Excess[] {
  const isPlain = owner['pid'] === 0n && owner['signum'] === 0n;
  return isPlain ? [] : [more(`the descriptor ${id} sends signals`)];
}

/** criu opens files as root, so a process must not get a file that its user could not open. */
function ofRegular(reg: Message, spec: RestoreSpec, root: unknown): Excess[] {
  const name = reg['name'] as string;
  const shown = JSON.stringify(name.slice(0, 200));
  const found = ofOwner(Number(reg['id']), reg['fown'] as Message);
  const flags = Number(reg['flags']);
  if ((flags & ~plainFlags) !== 0)
    found.push(unknown(`the file ${shown} has the flags 0${flags.toString(8)}`));
  const isDevice = (Number(reg['mode'] ?? 0n) & fileTypes.mask) === fileTypes.device;
  if (plainDevices.has(name)) {
    if (!isDevice) found.push(unknown(`the file ${shown} is not a device`));
    return found;
  }
  if (isDevice) found.push(more(`the device ${shown} is open`));
  if (!isPlainPath(name)) return [...found, more(`the file ${shown} is not a plain path`)];
  const below = spec.mounts.find(({ destination }) => isAtOrBelow(name, destination));
  if (below !== undefined)
    found.push(
      unknown(`the file ${shown} is in the mount ${below.destination}, not in the root file system`),
    );
  if (reg['mntId'] === undefined || reg['mntId'] !== root)
    found.push(unknown(`the file ${shown} is in another mount than the root file system`));
  return found;
}

/** Whether a path is absolute and normalized. */
export function isPlainPath(path: string): boolean {
  if (path === '/') return true;
  return (
    path.startsWith('/') &&
    path
      .slice(1)
      .split('/')
      .every((part) => !['', '.', '..'].includes(part))
  );
}

/** Whether a path is a folder, or below it. */
export function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith('/') ? folder : `${folder}/`);
}

const more = (what: string): Excess => ({ kind: 'more', what });
const unknown = (what: string): Excess => ({ kind: 'unknown', what });
