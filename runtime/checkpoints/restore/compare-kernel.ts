import type { MountLine } from '../../container-mounts/mountinfo.ts';
import { excessOf, resources } from '../images/compare.ts';
import { isAtOrBelow } from '../images/restorable.ts';
import type { RestoreSpec } from '../images/restorable.ts';
import { namespaceKinds } from '../images/rights.ts';
import type { NamespaceKind } from '../images/rights.ts';
import type { SeenProcess } from './kernel-rights.ts';

/** A restored container, as the kernel shows it before any of its processes continues. */
export interface Seen {
  /** The first process is `init`. */
  readonly processes: readonly SeenProcess[];
  readonly init: number;
  readonly mounts: readonly MountLine[];
  /** The namespaces of the daemon. */
  readonly ofNode: Readonly<Record<NamespaceKind, number | undefined>>;
  /** The namespaces that the specification names by their path. */
  readonly joined: Readonly<Partial<Record<NamespaceKind, number>>>;
  /** Masked and read-only paths that exist in the container, and whether each is a folder. */
  readonly present: ReadonlySet<string>;
  /** The settings that a process inherits from the daemon, where the specification has none. */
  readonly inherited: { readonly limits: readonly bigint[]; readonly oomScoreAdj: number };
  /** The filter of the specification. Undefined: none. */
  readonly filters: readonly Uint8Array[] | undefined;
}

const ociNamespaces: Readonly<Record<string, NamespaceKind>> = {
  ...{ pid: 'pid', network: 'net', ipc: 'ipc', uts: 'uts' },
  ...{ mount: 'mnt', user: 'user', cgroup: 'cgroup', time: 'time' },
};
const flags = ['ro', 'nosuid', 'nodev', 'noexec'];
const plainDevices = new Set(['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom']);

/**
 * Returns every right that restored processes have beyond the specification, according to the kernel itself:
 * it does not depend on how criu has read the images. Pure. An empty list: none.
 */
export function beyondSpec(seen: Seen, spec: RestoreSpec): string[] {
  const { processes, init, ofNode, filters } = seen;
  const first = processes.find(({ pid }) => pid === init);
  if (first === undefined) return [`the process ${init} is not in the cgroup of the container`];
  const threads = processes.flatMap((process) => process.threads);
  const excess = excessOf(
    { threads, processes, files: [], mounts: [], ofNode, unread: [] },
    { spec, filters },
  ).map(({ what }) => what);
  const running = threads
    .filter(({ state }) => state !== 'T')
    .map(({ pid, tid, state }) => `process ${tid ?? pid} is in the state ${state} instead of T`);
  return [
    ...excess,
    ...running,
    ...processes.flatMap((process) => ofInherited(process, seen, spec)),
    ...processes.flatMap((process) => ofNamespaces(process, first, seen, spec)),
    ...processes
      .filter(({ inNodeSession }) => inNodeSession)
      .map(({ pid }) => `process ${pid} is in a session or a process group of the node`),
    ...processes.flatMap((process) => ofFiles(process, seen.mounts, spec)),
    ...ofMounts(seen, spec),
  ];
}

/** criu sets limits as root. A new process has those of the daemon, if the specification has none. */
function ofInherited(
  { pid, limits, oomScoreAdj }: SeenProcess,
  { inherited }: Seen,
  { process }: RestoreSpec,
): string[] {
  if (process.capabilities.permitted.includes('CAP_SYS_RESOURCE')) return [];
  const set = new Set(process.rlimits.map(({ type }) => type));
  const found = resources
    .filter((name, index) => !set.has(name) && (limits[index] ?? 0n) > (inherited.limits[index] ?? 0n))
    .map((name) => `process ${pid} has a higher ${name} than the daemon`);
  return process.oomScoreAdj === undefined && oomScoreAdj < inherited.oomScoreAdj
    ? [...found, `process ${pid} has oom_score_adj ${oomScoreAdj}`]
    : found;
}

function ofNamespaces(process: SeenProcess, first: SeenProcess, seen: Seen, spec: RestoreSpec): string[] {
  const named = new Map(spec.linux.namespaces.map((one) => [ociNamespaces[one.type], one.path]));
  return namespaceKinds.flatMap((kind) => {
    const held = process.namespaces[kind];
    const path = named.get(kind);
    // criu makes a time namespace, so that clocks do not go back. It grants nothing.
    const isOwn = kind === 'time' || (named.has(kind) && path === undefined);
    const wanted = isOwn
      ? first.namespaces[kind]
      : path === undefined
        ? seen.ofNode[kind]
        : seen.joined[kind];
    return held === wanted ? [] : [`process ${process.pid} is in another ${kind} namespace`];
  });
}

function ofFiles(process: SeenProcess, mounts: readonly MountLine[], spec: RestoreSpec): string[] {
  const who = `process ${process.pid}`;
  const root = mounts.find(({ target }) => target === '/')?.id;
  const dev = mounts.find(({ target }) => target === '/dev')?.id;
  const found = process.root === '/' ? [] : [`${who} has the root folder ${process.root}`];
  for (const { target, mount } of process.descriptors) {
    if (/^pipe:\[\d+\]$/.test(target)) continue;
    if (plainDevices.has(target) ? mount === dev : target.startsWith('/') && mount === root) continue;
    found.push(`${who} has ${JSON.stringify(target.slice(0, 200))} open`);
  }
  for (const path of process.mapped) {
    const below = spec.mounts.find(({ destination }) => isAtOrBelow(path, destination));
    if (below !== undefined) found.push(`${who} has mapped ${JSON.stringify(path.slice(0, 200))}`);
  }
  return found;
}

/** Every mount is one of the specification, has its flags, and is not missing. */
function ofMounts({ mounts, present }: Seen, spec: RestoreSpec): string[] {
  const byTarget = Map.groupBy(mounts, ({ target }) => target);
  const destinations = [...new Set(spec.mounts.map(({ destination }) => destination))];
  const { readonlyPaths } = spec.linux;
  return [
    ...[...byTarget].flatMap(([target, [line, ...others]]) => [
      ...(others.length > 0 ? [`the mount ${shown(target)} occurs twice`] : []),
      ...(line === undefined ? [] : ofMount(line, spec)),
    ]),
    ...destinations.flatMap((destination) =>
      byTarget.has(destination) ? [] : [`the mount ${JSON.stringify(destination)} is missing`],
    ),
    ...[...present].flatMap((path) => {
      const line = byTarget.get(path)?.[0];
      if (line === undefined) return [`${JSON.stringify(path)} is not covered`];
      const isWritable = readonlyPaths.includes(path) && !line.options.includes('ro');
      return isWritable ? [`${JSON.stringify(path)} is writable`] : [];
    }),
  ];
}

function ofMount({ target, options, fstype }: Seen['mounts'][number], spec: RestoreSpec): string[] {
  if (target === '/')
    return spec.root.readonly && !options.includes('ro') ? ['the root file system is writable'] : [];
  const mount = spec.mounts.findLast(({ destination }) => destination === target);
  if (mount === undefined) {
    const isCovered = spec.linux.maskedPaths.includes(target) || spec.linux.readonlyPaths.includes(target);
    return isCovered ? [] : [`the mount ${shown(target)} is not in the specification`];
  }
  const wanted = mount.options.map((option) => (option === 'rro' ? 'ro' : option));
  const lacking = flags.filter((flag) => wanted.includes(flag) && !options.includes(flag));
  const types = mount.type === 'cgroup' ? ['cgroup', 'cgroup2'] : [mount.type];
  return [
    ...lacking.map((flag) => `the mount ${shown(target)} lacks the option ${flag}`),
    ...(mount.type === 'bind' || types.includes(fstype)
      ? []
      : [`the mount ${shown(target)} has the file system ${fstype}`]),
  ];
}

const shown = (target: string): string => JSON.stringify(target.slice(0, 200));
