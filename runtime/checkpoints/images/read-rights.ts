import { imageKinds, readImage, readSingle } from './image-file.ts';
import { readMessage } from './messages.ts';
import { namespaceKinds } from './rights.ts';
import type {
  FileRights,
  MountRights,
  NamespaceKind,
  ProcessRights,
  Rights,
  ThreadRights,
} from './rights.ts';
import { BadImage } from './strict-message.ts';
import type { Message } from './strict-message.ts';

/** The images of a checkpoint: file names without the folder, and their bytes if their kind is read. */
export interface Images {
  readonly names: readonly string[];
  /** Returns the bytes of an image. @throws if there is no such file */
  read(name: string): Uint8Array;
}

const mostTasks = 4_096;
const mostEntries = 65_536;
/** A filter counts as five of 32,768 instructions or more (kernel/seccomp.c, MAX_INSNS_PER_PATH). */
const mostFilters = 6_553;
const mostSteps = 100_000;
/** Images that contain memory, or numbers that grant no rights. */
const harmless =
  /^(?:pages-\d+|pagemap-\d+|pagemap-shmem-\d+|pages-shmem-\d+|mm-\d+|utsns-\d+|timens-\d+|ipcns-var-\d+|pipes-data)\.img$|^descriptors\.json$/;
/** TSYNC, LOG and SPEC_ALLOW of seccomp(2). A filter with a listener needs its listener. */
const knownFilterFlags = 0b111n;
/** fd_types of fdinfo.proto whose objects do not give access to anything outside the container. */
const plainKinds: Readonly<Record<number, string>> = { 2: 'pipe', 5: 'efd', 6: 'epfd', 9: 'sgfd', 17: 'tfd' };
const subjects = [
  'reg',
  'isk',
  'nsf',
  'psk',
  'nlsk',
  'efd',
  'epfd',
  'sgfd',
  'tunf',
  'tfd',
  'ify',
  'ffy',
  'ext',
  'usk',
  'fifo',
  'pipe',
  'tty',
  'memfd',
  'bpf',
  'pidfd',
];
/** task_state (criu, include/pid.h): running and stopped processes. */
const liveStates = new Set([1, 3]);
/** Processes that have ended, and only have an exit code. */
const deadStates = new Set([2, 6]);

/** Reads the messages of images. @throws BadImage */
interface Readers {
  /** Returns the one message of an image, such as `core-1.img` for 1. */
  single(kind: string, message: string, number?: number): Message;
  /** Returns all messages of the image with this name. */
  many(kind: string, message: string, name: string): Message[];
}

/** Returns readers that refuse everything that criu might read differently. */
export function readersOf(images: Images): Readers {
  return {
    single: (kind, message, number) =>
      readMessage(
        message,
        readSingle(kind, images.read(number === undefined ? `${kind}.img` : `${kind}-${number}.img`)),
      ),
    many: (kind, message, name) =>
      readImage(kind, images.read(name), mostEntries).map((bytes) => readMessage(message, bytes)),
  };
}

/**
 * Reads the rights of the processes in the images of a checkpoint. Refuses everything that criu might read
 * differently.
 * @throws BadImage
 */
export function readRights(images: Images): Rights {
  const { single, many } = readersOf(images);
  const inventory = single('inventory', 'Inventory');
  if (inventory['rootIds'] === undefined) throw new BadImage('inventory: no namespaces of the node');
  const filters = images.names.includes('seccomp.img') ? listOf(single('seccomp', 'Seccomp'), 'filters') : [];
  const threads: ThreadRights[] = [];
  const processes: ProcessRights[] = [];
  const chainOf = createChains(filters);
  const seen = new Set<number>();
  const used = new Set(['inventory.img', 'pstree.img', 'seccomp.img', 'files.img']);
  for (const entry of many('pstree', 'PstreeEntry', 'pstree.img')) {
    const pid = numberOf(entry, 'pid');
    const core = single('core', 'CoreEntry', pid);
    used.add(`core-${pid}.img`);
    const task = messageOf(core, 'tc');
    const state = numberOf(task, 'taskState');
    if (seen.has(pid)) throw new BadImage(`pstree: process ${pid} occurs twice`);
    seen.add(pid);
    if (deadStates.has(state)) continue;
    if (!liveStates.has(state)) throw new BadImage(`core: process ${pid} is in the state ${state}`);
    const ids = single('ids', 'Ids', pid);
    for (const kind of ['ids', 'fs']) used.add(`${kind}-${pid}.img`);
    used.add(`fdinfo-${numberOf(ids, 'files')}.img`);
    const descriptors = many('fdinfo', 'Fdinfo', `fdinfo-${numberOf(ids, 'files')}.img`);
    const fs = single('fs', 'Fs', pid);
    processes.push(
      processOf(pid, task, ids, [
        ...descriptors.map((each) => numberOf(each, 'id')),
        numberOf(fs, 'cwd'),
        numberOf(fs, 'root'),
      ]),
    );
    const tids = (entry['threads'] as readonly bigint[]).map(Number);
    if (!tids.includes(pid)) throw new BadImage(`pstree: process ${pid} has no first thread`);
    for (const tid of tids) {
      used.add(`core-${tid}.img`);
      const own = tid === pid ? core : single('core', 'CoreEntry', tid);
      threads.push(threadOf(pid, tid, own, textOf(task, 'comm'), chainOf));
      if (threads.length > mostTasks) throw new BadImage('pstree: too many threads');
    }
  }
  if (threads.length === 0) throw new BadImage('pstree: no process');
  const mountImages = images.names.filter((name) => /^mountpoints-\d+\.img$/.test(name));
  for (const name of mountImages) used.add(name);
  return {
    threads,
    processes,
    files: many('files', 'File', 'files.img').map(fileOf),
    mounts: mountImages.flatMap((name) => many('mountpoints', 'Mount', name).map(mountOf)),
    ofNode: namespacesOf(messageOf(inventory, 'rootIds')),
    unread: images.names.filter((name) => !used.has(name) && !harmless.test(name)),
  };
}

/** Reports whether the reader needs the bytes of an image. */
export function isRead(name: string): boolean {
  const kind = /^([a-z]+)(?:-\d+)?\.img$/.exec(name)?.[1];
  return kind !== undefined && imageKinds[kind] !== undefined;
}

function threadOf(
  pid: number,
  tid: number,
  core: Message,
  comm: string,
  chainOf: (thread: Message) => readonly Uint8Array[],
): ThreadRights {
  const thread = messageOf(core, 'threadCore');
  const creds = messageOf(thread, 'creds');
  const task = core['tc'] as Message | undefined;
  if (task?.['oldSeccompMode'] !== undefined || task?.['oldSeccompFilter'] !== undefined)
    throw new BadImage(`core: process ${pid} has its filters in an old form`);
  for (const field of ['lsmSockcreate', 'apparmorData'])
    if (creds[field] !== undefined) throw new BadImage(`core: ${field} of process ${pid}`);
  const mode = thread['seccompMode'] === undefined ? 0 : numberOf(thread, 'seccompMode');
  if (mode > 2) throw new BadImage(`core: unknown mode of seccomp ${mode}`);
  return {
    pid,
    tid: tid === pid ? undefined : tid,
    comm: thread['comm'] === undefined ? comm : textOf(thread, 'comm'),
    uids: ['uid', 'euid', 'suid', 'fsuid'].map((name) => numberOf(creds, name)),
    gids: ['gid', 'egid', 'sgid', 'fsgid'].map((name) => numberOf(creds, name)),
    groups: (creds['groups'] as readonly bigint[]).map(Number),
    capabilities: {
      inheritable: bits(creds, 'capInh'),
      permitted: bits(creds, 'capPrm'),
      effective: bits(creds, 'capEff'),
      bounding: bits(creds, 'capBnd'),
      ambient: bits(creds, 'capAmb'),
    },
    noNewPrivileges: creds['noNewPrivs'] === 1n,
    secureBits: numberOf(creds, 'secbits'),
    label: creds['lsmProfile'] as string | undefined,
    filters: mode === 2 ? chainOf(thread) : undefined,
    strictCalls: mode === 1,
    nice: zigzag(thread['schedNice'] as bigint | undefined),
    policy: thread['schedPolicy'] === undefined ? 0 : numberOf(thread, 'schedPolicy'),
  };
}

/**
 * Follows a filter to the filters before it (seccomp.proto: `prev`). Threads that share a filter share the
 * result, and all others are bounded, because each thread can begin at another filter of a long chain.
 */
function createChains(filters: readonly Message[]): (thread: Message) => readonly Uint8Array[] {
  const chains = new Map<bigint, readonly Uint8Array[]>();
  let steps = 0;
  return (thread) => {
    const last = thread['seccompFilter'] as bigint | undefined;
    if (last === undefined) throw new BadImage('core: a mode of seccomp without a filter');
    const known = chains.get(last);
    if (known !== undefined) return known;
    const chain: Uint8Array[] = [];
    for (let at: bigint | undefined = last; at !== undefined;) {
      const entry: Message | undefined = filters[Number(at)];
      if (entry === undefined) throw new BadImage(`seccomp: no filter ${at}`);
      if (chain.length === mostFilters || (steps += 1) > mostSteps)
        throw new BadImage('seccomp: too many filters');
      const flags = (entry['flags'] as bigint | undefined) ?? 0n;
      if ((flags & ~knownFilterFlags) !== 0n) throw new BadImage(`seccomp: unknown flags ${flags}`);
      chain.push(entry['filter'] as Uint8Array);
      at = entry['prev'] as bigint | undefined;
    }
    chain.reverse();
    chains.set(last, chain);
    return chain;
  };
}

function processOf(pid: number, task: Message, ids: Message, files: readonly number[]): ProcessRights {
  const limits = task['rlimits'] === undefined ? [] : listOf(messageOf(task, 'rlimits'), 'rlimits');
  return {
    pid,
    comm: textOf(task, 'comm'),
    limits: limits.map((limit) => limit['max'] as bigint),
    oomScoreAdj: Number(BigInt.asIntN(32, (task['oomScoreAdj'] as bigint | undefined) ?? 0n)),
    namespaces: namespacesOf(ids),
    files,
  };
}

function fileOf(file: Message): FileRights {
  const type = numberOf(file, 'type');
  const id = numberOf(file, 'id');
  const given = subjects.filter((name) => file[name] !== undefined);
  if (type === 1) {
    const reg = messageOf(file, 'reg');
    if (given.length !== 1) throw new BadImage(`files: file ${id} is of two kinds`);
    const regular = {
      name: textOf(reg, 'name'),
      mode: reg['mode'] === undefined ? 0 : numberOf(reg, 'mode'),
      writable: (numberOf(reg, 'flags') & 3) !== 0,
      external: reg['ext'] === 1n,
    };
    return { id, kind: 'regular', regular };
  }
  const plain = plainKinds[type];
  if (plain !== undefined && (given.length !== 1 || given[0] !== plain))
    throw new BadImage(`files: file ${id} is of two kinds`);
  return { id, regular: undefined, kind: plain ?? `type ${type}` };
}

function mountOf(mount: Message): MountRights {
  const external = mount['extMount'] === 1n || mount['extKey'] !== undefined;
  return {
    mountpoint: textOf(mount, 'mountpoint').replace(/^\.?\/?/, '/'),
    external: external ? ((mount['extKey'] as string | undefined) ?? '') : undefined,
    readOnly: (numberOf(mount, 'flags') & 1) !== 0,
  };
}

function namespacesOf(ids: Message): Record<NamespaceKind, number | undefined> {
  const of = (kind: NamespaceKind): number | undefined =>
    ids[kind] === undefined ? undefined : numberOf(ids, kind);
  return Object.fromEntries(namespaceKinds.map((kind) => [kind, of(kind)])) as Record<
    NamespaceKind,
    number | undefined
  >;
}

/** Capabilities are two words, the lower one first. */
function bits(creds: Message, name: string): bigint {
  const words = creds[name] as readonly bigint[];
  if (words.length > 2) throw new BadImage(`core: ${name} has ${words.length} words`);
  return (words[0] ?? 0n) | ((words[1] ?? 0n) << 32n);
}

/** Decodes sint32 (protobuf.dev, "Signed Integers"). */
function zigzag(value = 0n): number {
  return Number(value & 1n ? -((value + 1n) >> 1n) : value >> 1n);
}

function messageOf(message: Message, name: string): Message {
  const value = message[name];
  if (value === undefined) throw new BadImage(`no ${name}`);
  return value as Message;
}

const listOf = (message: Message, name: string): readonly Message[] => message[name] as readonly Message[];
const numberOf = (message: Message, name: string): number => Number(message[name]);
const textOf = (message: Message, name: string): string => message[name] as string;
