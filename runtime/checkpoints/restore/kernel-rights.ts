import { readFile, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { parseMountinfo } from '../../container-mounts/mountinfo.ts';
import type { MountLine } from '../../container-mounts/mountinfo.ts';
import { namespaceKinds } from '../images/rights.ts';
import type { NamespaceKind, ProcessRights, ThreadRights } from '../images/rights.ts';

/** A restored process, as the kernel shows it. */
export interface SeenProcess extends ProcessRights {
  readonly threads: readonly SeenThread[];
  readonly descriptors: readonly SeenDescriptor[];
  /** Paths of the program and of mapped files, in the mount namespace of the process. */
  readonly mapped: readonly string[];
  readonly root: string;
  /** Its session or process group is one of the node: signals to the group reach processes of the node. */
  readonly inNodeSession: boolean;
}

export interface SeenThread extends ThreadRights {
  /** A letter of proc_pid_stat(5). */
  readonly state: string;
  /** The mode of seccomp: 0, or 2 for filters. */
  readonly seccomp: number;
}

export interface SeenDescriptor {
  readonly target: string;
  /** The mount on which it was opened. */
  readonly mount: string;
}

/** Bounds the time of the comparison: no image of a checkpoint has more. */
const most = { threads: 4_096, descriptors: 65_536, mapsBytes: 16 * 1024 * 1024 };
const resourceNames = [
  ...['Max cpu time', 'Max file size', 'Max data size', 'Max stack size', 'Max core file size'],
  ...['Max resident set', 'Max processes', 'Max open files', 'Max locked memory', 'Max address space'],
  ...['Max file locks', 'Max pending signals', 'Max msgqueue size', 'Max nice priority'],
  ...['Max realtime priority', 'Max realtime timeout'],
];
const unlimited = (1n << 64n) - 1n;

/**
 * Reads the rights of a process from the kernel.
 * @throws if the process has ended, or has more threads or descriptors than a checkpoint can have
 */
export async function readProcess(pid: number, filters: readonly Uint8Array[]): Promise<SeenProcess> {
  const folder = `/proc/${pid}`;
  const tids = await readdir(join(folder, 'task'));
  if (tids.length > most.threads) throw new Error(`process ${pid} has more than ${most.threads} threads`);
  const threads: SeenThread[] = [];
  for (const tid of tids) threads.push(await readThread(pid, Number(tid), filters));
  const names = await readdir(join(folder, 'fd'));
  if (names.length > most.descriptors)
    throw new Error(`process ${pid} has more than ${most.descriptors} descriptors`);
  const descriptors: SeenDescriptor[] = [];
  for (const name of names)
    descriptors.push({
      target: await readlink(join(folder, 'fd', name)),
      mount: fieldOf(await readFile(join(folder, 'fdinfo', name), 'utf8'), 'mnt_id'),
    });
  return {
    pid,
    comm: threads[0]?.comm ?? '',
    limits: limitsOf(await readFile(join(folder, 'limits'), 'utf8')),
    oomScoreAdj: Number(await readFile(join(folder, 'oom_score_adj'), 'utf8')),
    namespaces: await readNamespaces(folder),
    files: [],
    threads,
    descriptors,
    mapped: await readMapped(folder),
    root: await readlink(join(folder, 'root')),
    inNodeSession: isInNodeSession(await readFile(join(folder, 'status'), 'utf8')),
  };
}

/** In the PID namespace of a process, which is the last one, groups from outside have the number 0. Pure. */
export function isInNodeSession(status: string): boolean {
  return ['NSsid', 'NSpgid'].some((name) => fieldOf(status, name).split(/\s+/).at(-1) === '0');
}

/** Returns the numbers of the namespaces of a process, by `/proc/PID`. */
export async function readNamespaces(folder: string): Promise<Record<NamespaceKind, number | undefined>> {
  const entries: [NamespaceKind, number | undefined][] = [];
  for (const kind of namespaceKinds) {
    const link = await readlink(join(folder, 'ns', kind)).catch((cause: unknown) => {
      // A kernel without time namespaces.
      if (kind === 'time') return '';
      throw cause;
    });
    entries.push([kind, link === '' ? undefined : Number(/\[(\d+)\]$/.exec(link)?.[1])]);
  }
  return Object.fromEntries(entries) as Record<NamespaceKind, number | undefined>;
}

/** Returns the mounts that a process sees. */
export async function readMounts(pid: number): Promise<MountLine[]> {
  return parseMountinfo(await readFile(`/proc/${pid}/mountinfo`, 'utf8'));
}

async function readThread(pid: number, tid: number, filters: readonly Uint8Array[]): Promise<SeenThread> {
  const folder = `/proc/${pid}/task/${tid}`;
  const status = await readFile(join(folder, 'status'), 'utf8');
  const stat = await readFile(join(folder, 'stat'), 'utf8');
  // From the third field on: the name of the program may contain any characters.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const seccomp = Number(fieldOf(status, 'Seccomp'));
  return {
    pid,
    tid: tid === pid ? undefined : tid,
    comm: fieldOf(status, 'Name'),
    ...statusRights(status),
    secureBits: 0,
    label: await readLabel(folder),
    filters: seccomp === 2 ? filters : undefined,
    strictCalls: seccomp === 1,
    nice: Number(fields[16]),
    policy: Number(fields[38]),
    state: fields[0] ?? '',
    seccomp,
  };
}

/** Returns the rights in `/proc/PID/status` (proc_pid_status(5)). Pure. */
export function statusRights(
  status: string,
): Pick<ThreadRights, 'uids' | 'gids' | 'groups' | 'capabilities' | 'noNewPrivileges'> {
  const numbers = (name: string): number[] =>
    fieldOf(status, name)
      .split(/\s+/)
      .filter((text) => text !== '')
      .map(Number);
  const bits = (name: string): bigint => BigInt(`0x${fieldOf(status, name)}`);
  return {
    uids: numbers('Uid'),
    gids: numbers('Gid'),
    groups: numbers('Groups'),
    capabilities: {
      inheritable: bits('CapInh'),
      permitted: bits('CapPrm'),
      effective: bits('CapEff'),
      bounding: bits('CapBnd'),
      ambient: bits('CapAmb'),
    },
    noNewPrivileges: fieldOf(status, 'NoNewPrivs') === '1',
  };
}

/** @throws if the field is missing: a right that is not known is no right that fits */
function fieldOf(text: string, name: string): string {
  const value = new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(text)?.[1];
  if (value === undefined) throw new Error(`the kernel does not report ${name}`);
  return value.trim();
}

/** AppArmor adds its mode: `NAME (enforce)`. Only an enforced profile counts. */
async function readLabel(folder: string): Promise<string | undefined> {
  try {
    const text = (await readFile(join(folder, 'attr/current'), 'utf8')).replace(/[\0\n]+$/, '');
    return text.replace(/ \(enforce\)$/, '');
  } catch (cause) {
    // EINVAL: the kernel has no security module with labels.
    if (['EINVAL', 'ENOENT'].includes((cause as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw cause;
  }
}

/** Returns the hard limits by their number (proc_pid_limits(5)). Pure. */
export function limitsOf(text: string): bigint[] {
  const rows = new Map(
    text.split('\n').map((line) => [line.slice(0, 25).trim(), line.slice(25).trim().split(/\s+/)[1] ?? '']),
  );
  return resourceNames.map((name) => {
    const hard = rows.get(name);
    if (hard === undefined) throw new Error(`the kernel does not report "${name}"`);
    return hard === 'unlimited' ? unlimited : BigInt(hard);
  });
}

async function readMapped(folder: string): Promise<string[]> {
  const maps = await readFile(join(folder, 'maps'), 'utf8');
  if (maps.length > most.mapsBytes) throw new Error(`${folder}/maps is longer than ${most.mapsBytes} bytes`);
  const paths = maps
    .split('\n')
    .map((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1])
    .filter((path) => path !== undefined);
  return [...new Set([await readlink(join(folder, 'exe')), ...paths])];
}
